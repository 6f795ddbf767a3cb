"""`jax-sif explain`: its options; runs in the container, on any node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Reads the options and explains."""
    parser = argparse.ArgumentParser(
        prog="jax-sif explain",
        description="Names the causes of a failure from the output of a job, also of one"
        " that never used jax-sif.",
        epilog="Exit status: 0 recognised, 2 wrong usage, 3 not recognised.",
    )
    parser.add_argument(
        "log", nargs="+", help="outputs of one job; - for standard input"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)

    from jaxsif.explain import explain

    return explain(chosen.log, chosen.json)
