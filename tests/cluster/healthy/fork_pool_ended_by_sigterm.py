"""Pools of forked workers that reset SIGTERM, like PyTorch's, and are ended by it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing
import signal

from _group import add_up, end_well, join

FORKS = multiprocessing.get_context("fork")
WORKERS = 2


def put_right(barrier) -> None:
    """JAX alone makes its process, and each fork of it, deaf to SIGTERM.

    The others are waited for: a worker that is ended before it is here never ends.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    barrier.wait()


def square(number: int) -> int:
    return number * number


def main() -> None:
    join()
    for _ in range(3):
        barrier = FORKS.Barrier(WORKERS)
        with FORKS.Pool(WORKERS, put_right, (barrier,)) as pool:
            assert pool.map(square, range(3)) == [0, 1, 4]
    add_up()
    end_well()


if __name__ == "__main__":
    main()
