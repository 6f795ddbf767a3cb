"""Forked children end with status 3, by sys.exit() and by os._exit(); runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing
import os
import sys

from _group import add_up, end_well, join


def main() -> None:
    join()
    child = multiprocessing.get_context("fork").Process(target=sys.exit, args=(3,))
    child.start()
    child.join()
    assert child.exitcode == 3
    bare = os.fork()
    if bare == 0:
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(bare, 0)[1]) == 3
    add_up()
    end_well()


if __name__ == "__main__":
    main()
