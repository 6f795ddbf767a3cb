"""Pools of workers that multiprocessing starts by spawn; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing

from _group import add_up, end_well, join


def square(number: int) -> int:
    return number * number


def main() -> None:
    join()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(square, range(3)) == [0, 1, 4]
    add_up()
    end_well()


if __name__ == "__main__":
    main()
