"""Pools of forked workers that put SIGTERM right, as PyTorch's do, and are ended by it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing
import signal

from _group import add_up, end_well, join

# JAX alone makes its process, and each fork of it, deaf to SIGTERM.
RIGHT = (signal.signal, (signal.SIGTERM, signal.SIG_DFL))


def square(number: int) -> int:
    return number * number


def main() -> None:
    join()
    for _ in range(3):
        with multiprocessing.get_context("fork").Pool(2, *RIGHT) as pool:
            assert pool.map(square, range(3)) == [0, 1, 4]
    add_up()
    end_well()


if __name__ == "__main__":
    main()
