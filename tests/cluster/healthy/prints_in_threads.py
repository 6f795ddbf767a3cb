"""Prints half lines from eight threads at once; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import sys
import threading

from _group import add_up, end_well, join


def chatter(number: int) -> None:
    for line in range(100):
        sys.stdout.write(f"thread {number} ")
        sys.stdout.write(f"line {line}\n")
        if line % 10 == 0:
            sys.stdout.flush()


join()
threads = [threading.Thread(target=chatter, args=(i,)) for i in range(8)]
for thread in threads:
    thread.start()
add_up()
for thread in threads:
    thread.join()
end_well()
