"""A forked process raises and prints its traceback, and its parent handles it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing

from _group import add_up, end_well, join, work


def fail() -> None:
    raise RuntimeError("shard 17 cannot be read")


def main() -> None:
    join()
    child = multiprocessing.get_context("fork").Process(target=fail)
    child.start()
    child.join()
    assert child.exitcode == 1
    work(5)
    add_up()
    end_well()


if __name__ == "__main__":
    main()
