"""A thread that writes a checkpoint ends 10 s after the main program; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import threading

from _group import RANK, add_up, end_well, join, work


def save() -> None:
    if RANK == 0:
        work(10)
    end_well()


join()
add_up()
threading.Thread(target=save).start()
