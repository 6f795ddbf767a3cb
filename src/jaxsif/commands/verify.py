"""`jax-sif verify`: its options; runs in the container, beside a job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Reads the options and judges."""
    parser = argparse.ArgumentParser(
        prog="jax-sif verify",
        description="Shows a job's output as it comes and ends with a verdict.",
        epilog="Exit status: 0 pass, 1 fail, 2 wrong usage, 3 could not tell, 75 pass, and"
        " the program asks that its job be started again.",
    )
    parser.add_argument(
        "log", nargs="?", default="-", help="a job's output; standard input by default"
    )
    parser.add_argument(
        "--topology",
        metavar="G8N2p4",
        help="devices, nodes and processes in all; $JAX_SIF_TOPOLOGY by default",
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=os.environ.get("JAX_SIF_JSON") or None,
        metavar="FILE",
        help="write the verdict for programs too; $JAX_SIF_JSON by default",
    )
    parser.add_argument(
        "--program",
        action="store_true",
        help="the output is of a user's program: where it tells nothing, there is no"
        " verdict, and its own exit status stands",
    )
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.add_argument(
        "--baseline",
        metavar="FILE",
        help="compare speeds with those learned by jax-sif baseline;"
        " $JAX_SIF_BASELINE by default",
    )
    chosen = parser.parse_args(arguments)

    from jaxsif.verify import verify

    return verify(
        chosen.log,
        chosen.topology,
        chosen.json,
        is_program=chosen.program,
        is_strict=chosen.strict,
        baseline_file=chosen.baseline,
    )
