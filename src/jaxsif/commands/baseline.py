"""`jax-sif baseline`: its options; runs in the container, anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Reads the options, and learns or shows."""
    from jaxsif.baseline import BASELINE_VARIABLE, DEFAULT_FILE, add, show

    parser = argparse.ArgumentParser(
        prog="jax-sif baseline",
        description="Keeps the speeds that were seen when all was well: a file to"
        " commit, which jax-sif verify --baseline compares later runs with.",
        epilog="A verdict is what jax-sif verify --json FILE writes after"
        " jobs/bandwidth.slurm. Exit status: 0, or 2 for a run that is no good example.",
    )
    deeds = parser.add_subparsers(dest="deed", required=True, metavar="add|show")
    adding = deeds.add_parser("add", help="learn from good runs")
    adding.add_argument("verdicts", nargs="+", metavar="VERDICT.json")
    showing = deeds.add_parser("show", help="print what it knows")
    default = os.environ.get(BASELINE_VARIABLE) or DEFAULT_FILE
    for deed in (adding, showing):
        deed.add_argument(
            "--file",
            type=Path,
            default=Path(default),
            metavar="FILE",
            help=f"${BASELINE_VARIABLE} by default, or {DEFAULT_FILE} here",
        )
    chosen = parser.parse_args(arguments)
    if chosen.deed == "add":
        return add(chosen.verdicts, chosen.file)
    return show(chosen.file)
