"""`jax-sif baseline`: keep the speeds of successful runs in a file."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsif.core.errors import UsageError

if TYPE_CHECKING:
    from jaxsif.bandwidth.baseline import Baseline

BASELINE_VARIABLE = "JAX_SIF_BASELINE"
DEFAULT_FILE = "baseline.toml"


def main(arguments: Sequence[str]) -> int:
    """Parse the options; add to the baseline or show it."""
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


def requested_baseline(
    file: str | None, environment: Mapping[str, str]
) -> Baseline | None:
    """The requested baseline, or None. Raises UsageError."""
    name = file or environment.get(BASELINE_VARIABLE)
    return read(Path(name)) if name else None


def read(path: Path) -> Baseline:
    """Read a baseline. Raises UsageError if the file is unreadable or none."""
    from jaxsif.bandwidth import baseline as baselines

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the baseline {str(path)!r}: {reason}; jax-sif baseline add"
            " writes one, and the container must see it"
        ) from error
    return baselines.parse(text, str(path))


def add(verdicts: Sequence[str], path: Path) -> int:
    """Add the speeds of successful runs; a missing file is created."""
    from jaxsif.bandwidth import baseline as baselines
    from jaxsif.core import verdict_file
    from jaxsif.core.atomic_write import atomic_write
    from jaxsif.core.text import plural

    baseline = read(path) if path.exists() else baselines.Baseline(str(path))
    for name in verdicts:
        for verdict in verdict_file.read(Path(name)):
            baseline = baselines.with_run_added(baseline, verdict, name)
    atomic_write(path, baselines.render(baseline), "it is as it was before")
    sys.stdout.write(
        f"{path}: {plural(len(baseline.runs), 'speed')}, learned from"
        f" {plural(len(verdicts), 'more run')}\n"
    )
    return 0


def show(path: Path) -> int:
    """Print a baseline."""
    from jaxsif.bandwidth import baseline as baselines

    sys.stdout.write(baselines.table(read(path)))
    return 0
