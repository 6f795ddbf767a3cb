"""A thread and a destructor raise, Python prints both, and the program continues; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import threading

from _group import add_up, end_well, join, work


class Careless:
    def __del__(self) -> None:
        raise RuntimeError("raised while it is removed")


def fail() -> None:
    raise RuntimeError("raised in a thread")


join()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
Careless()
work(10)
add_up()
end_well()
