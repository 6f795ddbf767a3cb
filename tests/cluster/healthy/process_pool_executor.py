"""A ProcessPoolExecutor of forked workers with one task that fails, which is caught; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from _group import add_up, end_well, join


def inverse(number: int) -> float:
    return 1 / number


def main() -> None:
    join()
    forks = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=forks) as pool:
        error = pool.submit(inverse, 0).exception()
        assert isinstance(error, ZeroDivisionError)
        assert pool.submit(inverse, 2).result() == 0.5
    add_up()
    end_well()


if __name__ == "__main__":
    main()
