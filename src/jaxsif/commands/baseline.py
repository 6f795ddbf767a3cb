"""`jax-sif baseline`: its options."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Parses the options; adds to the baseline or shows it."""
    from jaxsif.baseline import BASELINE_VARIABLE, DEFAULT_FILE, add, show

    parser = argparse.ArgumentParser(
        prog="jax-sif baseline",
        description="Records the speeds of successful runs in a file to commit;"
        " jax-sif verify --baseline compares later runs with it.",
        epilog="A verdict is what jax-sif verify --verdict-file FILE writes after"
        " jobs/bandwidth.slurm. Exit status: 0, or 2 for a run that did not pass.",
    )
    subcommands = parser.add_subparsers(
        dest="subcommand", required=True, metavar="add|show"
    )
    adding = subcommands.add_parser("add", help="add successful runs")
    adding.add_argument("verdicts", nargs="+", metavar="VERDICT.json")
    showing = subcommands.add_parser("show", help="print the baseline")
    default = os.environ.get(BASELINE_VARIABLE) or DEFAULT_FILE
    for subparser in (adding, showing):
        subparser.add_argument(
            "--file",
            type=Path,
            default=Path(default),
            metavar="FILE",
            help=f"default: ${BASELINE_VARIABLE}, or {DEFAULT_FILE} in this folder",
        )
    chosen = parser.parse_args(arguments)
    if chosen.subcommand == "add":
        return add(chosen.verdicts, chosen.file)
    return show(chosen.file)
