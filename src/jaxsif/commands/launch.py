"""`jax-sif launch`: its options; runs on a laptop, or in the container."""
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
A program that ends in .py is run with python. Exit status: 0 when every rank ended with
0, otherwise that of the first rank that failed, 128 + N for signal N; 124 time limit
reached, 127 no such program, 129, 130 or 143 ended by SIGHUP, Ctrl-C or SIGTERM, 141
nobody reads the output, 2 wrong usage."""


def main(arguments: Sequence[str]) -> int:
    """Reads the options and launches."""
    parser = _parser()
    # Options may stand before and after the topology, and end where the program begins.
    chosen = parser.parse_args(arguments)
    if not chosen.words:
        parser.error("no topology; write it as G4N2p4: 4 devices, 2 nodes, 4 processes")
    if chosen.env is not None:
        # The module's jax-sif has taken it, and mounted it, where that can be done.
        raise UsageError(
            f"cannot use the packages {chosen.env!r}: they are for the image, and named"
            " first: jax-sif launch --env FILE G4N2p4 ..., with the module's jax-sif"
        )
    topology = parse_topology(chosen.words[0])
    chosen = parser.parse_args(chosen.words[1:], chosen)
    program = chosen.words[1:] if chosen.words[:1] == ["--"] else chosen.words
    if not program:
        parser.error("no program; write it behind the topology, as: -- python train.py")

    from jaxsif.launch import faults
    from jaxsif.launch.run import Request, launch
    from jaxsif.launch.supervisor import Limits

    ranks = {
        faults.KILL: chosen.kill_rank,
        faults.STALL: chosen.stall_rank,
        faults.SLOW: chosen.slow_rank,
        faults.DROP: chosen.drop_rank,
    }
    return launch(
        Request(
            topology,
            program,
            chosen.devices,
            chosen.logs,
            chosen.label,
            Limits(chosen.grace, chosen.time_limit),
            faults.plan(ranks, chosen.after, topology.processes),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif launch",
        usage="jax-sif launch [OPTIONS] G4N2p4 [OPTIONS] [--] PROGRAM [ARGUMENTS]",
        description="Starts a program as the ranks of a topology on this machine, with"
        " the variables that srun would give them; a stand-in for srun.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument(
        "--env",
        metavar="FILE",
        help="your own packages (jax-sif env); in the first place: launch --env FILE ...",
    )
    parser.add_argument(
        "--devices",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="auto: GPUs where the machine shows enough of them, else CPU devices",
    )
    parser.add_argument(
        "--logs", type=Path, metavar="DIR", help="a file per rank, as rank-3-node2.log"
    )
    parser.add_argument(
        "--label",
        action=argparse.BooleanOptionalAction,
        help="`3 node2| ` before each line of rank 3; by default on a terminal only",
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
        help="from SIGTERM to SIGKILL, when the ranks are ended; 5s by default",
    )
    parser.add_argument(
        "--time-limit", type=duration_s, metavar="TIME", help="ends the ranks after it"
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    faults = parser.add_argument_group(
        "faults, to see what your program does; each may be given again"
    )
    for name, deed in (
        ("kill", "ends it by SIGKILL"),
        ("stall", "stops it for good (SIGSTOP)"),
        ("slow", "lets it run for a quarter of the time only"),
        ("drop", "does not start it"),
    ):
        faults.add_argument(
            f"--{name}-rank",
            type=int,
            action="append",
            default=[],
            metavar="RANK",
            help=deed,
        )
    faults.add_argument(
        "--after",
        type=duration_s,
        metavar="TIME",
        help="when, as 500ms, 2s or 1m after the start; at once by default",
    )


def duration_s(text: str) -> float:
    """Seconds of `2s`, `500ms`, `1.5m`, `1h` or `90`. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text, re.ASCII)
    if match is None:
        raise UsageError(
            f"unknown duration {text!r}; write it as 2s, 500ms, 1m, or a number of"
            " seconds"
        )
    return float(match[1]) * _UNITS_S[match[2] or "s"]
