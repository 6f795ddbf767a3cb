"""`jax-sif check`: its options; runs in a job's script, before srun."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Reads the options and checks."""
    parser = argparse.ArgumentParser(
        prog="jax-sif check",
        description="Compares a job's allocation with $JAX_SIF_TOPOLOGY, before its"
        " ranks start. Silent when all is well.",
        epilog="Exit status: 0 well, 1 not, 2 wrong usage.",
    )
    parser.add_argument(
        "program", nargs="?", help="a file that the container has to see"
    )
    parser.add_argument(
        "--env", metavar="FILE", help="packages that the image has to fit"
    )
    chosen = parser.parse_args(arguments)

    from jaxsif.check import check

    return check(chosen.program, packages=chosen.env)
