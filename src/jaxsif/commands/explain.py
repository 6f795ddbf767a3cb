"""`jax-sif explain`: its options."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Parses the options and explains the output."""
    parser = argparse.ArgumentParser(
        prog="jax-sif explain",
        description="Names the causes of a failure from the output of a job, even if the"
        " job did not use jax-sif.",
        epilog="Exit status: 0 recognised, 2 usage error, 3 not recognised.",
    )
    parser.add_argument(
        "log", nargs="+", help="outputs of one job; - for standard input"
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: text"
    )
    chosen = parser.parse_args(arguments)

    from jaxsif.explain import explain

    return explain(chosen.log, is_json=chosen.format == "json")
