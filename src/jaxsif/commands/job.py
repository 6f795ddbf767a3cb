"""`jax-sif job`: a job script from a profile, a site and a program; runs in the container, on a login node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsif.job.build import Options

# Options that stand in the place of a field of the profile, or of the site.
_PROFILE = {
    "name": "the job's name",
    "topology": "devices, nodes and processes in all, as G8N2p4",
    "platform": "gpu or cpu: what the devices are",
    "time-limit": "as Slurm writes it: 2:00:00",
    "cpus-per-process": "a number",
    "memory-per-process": "as 8G",
    "signal": "a signal before the time limit, as USR1@120",
}
_SITE = {
    "partition": "as of sbatch",
    "account": "as of sbatch",
    "qos": "as of sbatch",
    "constraint": "as of sbatch",
    "reservation": "as of sbatch",
    "runtime": "apptainer, pyxis, podman-hpc or bare",
}


def main(arguments: Sequence[str]) -> int:
    """Reads the options and writes the script."""
    chosen, words = _read(arguments)

    import os
    import sys

    from jaxsif.job.build import make

    script = make(words, options(chosen, shlex.join(("jax-sif", "job", *arguments))))
    sys.stdout.buffer.write(os.fsencode(script))
    sys.stdout.flush()
    return 0


def options(chosen: dict[str, Any], made_by: str) -> Options:
    """What was chosen by the options of `add_options`."""
    from jaxsif.job.build import Options

    return Options(
        site=chosen["site"],
        profile_changes=_changes(chosen, _PROFILE),
        site_changes=_changes(chosen, _SITE),
        variables=chosen["env"],
        sbatch_options=chosen["sbatch"],
        output=chosen["output"],
        verdict=chosen["json"],
        divides=chosen["divides"],
        is_staged=chosen["stage"],
        is_requeued=chosen["requeue"],
        collectives=chosen["collectives"],
        made_by=made_by,
    )


def _read(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    return read(parser(), arguments)


def read(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """The options, and the words: the profile, the program and its own arguments."""
    # Twice, because options may stand before and behind the profile, while those behind
    # the program are its own.
    chosen = parser.parse_args(arguments)
    words = chosen.words
    if words:
        chosen = parser.parse_args(words[1:], chosen)
        words = [words[0], *_without_dashes(chosen.words)]
    return vars(chosen), words


def _without_dashes(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def _changes(chosen: dict[str, Any], fields: dict[str, str]) -> dict[str, str]:
    names = [name.replace("-", "_") for name in fields]
    return {name: chosen[name] for name in names if chosen[name] is not None}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif job",
        usage="jax-sif job [options] PROFILE [options] [PROGRAM [ARGUMENT ...]]",
        description="Prints a job script. PROFILE is a name (jax-sif profile list),"
        " a file, or a topology such as G8N2p8; without PROGRAM the profile's own runs, or the"
        " all-reduce check.",
        epilog="jax-sif job G8N2p8 train.py --epochs 3 | sbatch",
        allow_abbrev=False,
    )
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a job, and the words behind them."""
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument(
        "--site",
        help="a name (jax-sif site list) or a file; $JAX_SIF_SITE, or generic, by default",
    )
    for title, fields in (("of the profile", _PROFILE), ("of the site", _SITE)):
        group = parser.add_argument_group(f"in the place of what stands in {title[3:]}")
        for name, text in fields.items():
            group.add_argument(f"--{name}", help=text)
    parser.add_argument("--output", default="%x-%j.out", help="%(default)s")
    parser.add_argument(
        "--json", metavar="FILE", help="where the verdict is written for programs too"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE|FILE.sqsh",
        help="a variable for the program, may be repeated; or a file of your own"
        " packages (jax-sif env)",
    )
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="any option of sbatch, as --sbatch=--exclusive; may be repeated",
    )
    parser.add_argument("--requeue", action="store_true", help="run again if preempted")
    parser.add_argument(
        "--divides",
        action="append",
        type=int,
        default=[],
        metavar="N",
        help="refuse unless N (a batch, particles) divides over the devices",
    )
    parser.add_argument(
        "--stage",
        action="store_true",
        help="copy the image, and your packages, to each node's own disk first",
    )
    parser.add_argument(
        "--collectives",
        choices=("gloo", "mpi"),
        default="gloo",
        help="between CPU devices: %(default)s",
    )
