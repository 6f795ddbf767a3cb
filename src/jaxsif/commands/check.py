"""`jax-sif check`: its options. Runs in a job script before srun."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Parses the options and runs the checks."""
    parser = argparse.ArgumentParser(
        prog="jax-sif check",
        description="Compares a job's allocation with $JAX_SIF_TOPOLOGY before the"
        " ranks start. Prints nothing on success.",
        epilog="Exit status: 0 success, 1 problems found, 2 usage error.",
    )
    parser.add_argument(
        "program", nargs="?", help="a file that must be visible in the container"
    )
    parser.add_argument(
        "--packages", metavar="FILE", help="packages that must fit the image"
    )
    chosen = parser.parse_args(arguments)

    from jaxsif.check import check

    return check(chosen.program, packages=chosen.packages)
