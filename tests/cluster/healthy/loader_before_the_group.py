"""A loader's forked workers are started before the group is joined, and ended after it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing

from _group import add_up, end_well, join


def square(number: int) -> int:
    return number * number


def main() -> None:
    pool = multiprocessing.get_context("fork").Pool(2)
    join()
    assert pool.map(square, range(3)) == [0, 1, 4]
    add_up()
    pool.terminate()
    pool.join()
    end_well()


if __name__ == "__main__":
    main()
