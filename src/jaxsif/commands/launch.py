"""`jax-sif launch`: its options."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from jaxsif.core.errors import UsageError
from jaxsif.core.topology import parse_topology

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

_EPILOG = """\
Programs ending in .py are run with python. Exit status: 0 if every rank succeeded,
otherwise that of the first rank that failed, 128 + N for signal N; 124 time limit
reached; 127 no such program; 129, 130 or 143 ended by SIGHUP, Ctrl-C or SIGTERM; 141
standard output was closed; 2 usage error."""


def main(arguments: Sequence[str]) -> int:
    """Parses the options and launches the program."""
    parser = _parser()
    # Options may stand before and after the topology, and end where the program begins.
    chosen = parser.parse_args(arguments)
    if not chosen.words:
        parser.error("no topology; for example G4N2p4: 4 devices, 2 nodes, 4 processes")
    if chosen.packages is not None:
        # The module's jax-sif has already removed the option and mounted the packages.
        raise UsageError(
            f"cannot use the packages {chosen.packages!r}: they need the image, and"
            " --packages must be first: jax-sif launch --packages FILE G4N2p4 ..., with"
            " the module's jax-sif"
        )
    topology = parse_topology(chosen.words[0])
    chosen = parser.parse_args(chosen.words[1:], chosen)
    program = chosen.words[1:] if chosen.words[:1] == ["--"] else chosen.words
    if not program:
        parser.error("no program; write it after the topology: -- python train.py")

    from jaxsif.launch import faults
    from jaxsif.launch.launch import LaunchOptions, launch
    from jaxsif.launch.supervisor import LaunchLimits

    ranks = {
        faults.KILL: chosen.kill_rank,
        faults.STALL: chosen.stall_rank,
        faults.SLOW: chosen.slow_rank,
        faults.SKIP: chosen.skip_rank,
    }
    return launch(
        LaunchOptions(
            topology,
            program,
            chosen.devices,
            chosen.log_dir,
            chosen.label,
            LaunchLimits(chosen.grace, chosen.time_limit),
            faults.plan(ranks, chosen.after, topology.processes),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif launch",
        usage="jax-sif launch [OPTIONS] G4N2p4 [OPTIONS] [--] PROGRAM [ARGUMENTS]",
        description="Starts a program as the ranks of a topology on this machine, with"
        " the\nvariables that srun would set.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument(
        "--packages",
        metavar="FILE",
        help="package overlay to mount (see jax-sif packages); must be the first"
        " option",
    )
    parser.add_argument(
        "--devices",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="auto (default): GPUs if there are enough, otherwise CPU devices",
    )
    parser.add_argument(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="write one file per rank: rank-3-node2.log",
    )
    parser.add_argument(
        "--label",
        action=argparse.BooleanOptionalAction,
        help="prefix each line with its rank: `3 node2| ` (default: on a terminal)",
    )
    _add_limits(parser)
    _add_faults(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grace",
        type=duration_s,
        default=5.0,
        metavar="TIME",
        help="time between SIGTERM and SIGKILL (default: 5s)",
    )
    parser.add_argument(
        "--time-limit", type=duration_s, metavar="TIME", help="end the ranks after TIME"
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    faults = parser.add_argument_group("faults to inject; may be repeated")
    for name, text in (
        ("kill", "kill it with SIGKILL"),
        ("stall", "stop it with SIGSTOP"),
        ("slow", "slow it down to a quarter of its speed"),
        ("skip", "do not start it"),
    ):
        faults.add_argument(
            f"--{name}-rank",
            type=int,
            action="append",
            default=[],
            metavar="RANK",
            help=text,
        )
    faults.add_argument(
        "--after",
        type=duration_s,
        metavar="TIME",
        help="inject faults this long after the start: 500ms, 2s, 1m (default: 0)",
    )


def duration_s(text: str) -> float:
    """Parse `2s`, `500ms`, `1.5m`, `1h` or `90` (seconds). Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text, re.ASCII)
    if match is None:
        raise UsageError(
            f"invalid duration {text!r}; expected for example 2s, 500ms, 1m, or a"
            " number of seconds"
        )
    return float(match[1]) * _UNITS_S[match[2] or "s"]
