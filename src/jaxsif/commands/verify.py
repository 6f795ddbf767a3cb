"""`jax-sif verify`: its options."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Parses the options and verifies the output."""
    parser = argparse.ArgumentParser(
        prog="jax-sif verify",
        description="Prints a job's output as it arrives, then a verdict.",
        epilog="Exit status: 0 pass, 1 fail, 2 usage error, 3 COULD NOT TELL, 75 pass and the"
        " program requests a requeue of its job.",
    )
    parser.add_argument(
        "log", nargs="?", default="-", help="a job's output (default: standard input)"
    )
    parser.add_argument(
        "--topology",
        metavar="G8N2p4",
        help="total devices, nodes and processes (default: $JAX_SIF_TOPOLOGY)",
    )
    parser.add_argument(
        "--verdict-file",
        type=Path,
        default=os.environ.get("JAX_SIF_VERDICT_FILE") or None,
        metavar="FILE",
        help="write the verdict for programs too; $JAX_SIF_VERDICT_FILE by default",
    )
    parser.add_argument(
        "--user-program",
        action="store_true",
        help="for user programs: if the output contains no records, give no verdict"
        " and keep the program's exit status",
    )
    parser.add_argument(
        "--strict", action="store_true", help="treat warnings as failures"
    )
    parser.add_argument(
        "--baseline",
        metavar="FILE",
        help="compare speeds with this file of jax-sif baseline (default:"
        " $JAX_SIF_BASELINE)",
    )
    chosen = parser.parse_args(arguments)

    from jaxsif.verify import verify

    return verify(
        chosen.log,
        chosen.topology,
        chosen.verdict_file,
        is_program=chosen.user_program,
        is_strict=chosen.strict,
        baseline_file=chosen.baseline,
    )
