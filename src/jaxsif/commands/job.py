"""`jax-sif job`: prints a job script for a profile, a site and a program."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsif.job.build import JobOptions

# Options that override a field of the profile, or of the site: by field the names, which
# are sbatch's if they mean the same, the metavar and the help.
_PROFILE = {
    "name": (("-J", "--job-name"), "NAME", "the job's name"),
    "topology": (("--topology",), "LABEL", "devices, nodes and processes: G8N2p4"),
    "platform": (("--platform",), "NAME", "type of devices: gpu or cpu"),
    "time_limit": (("-t", "--time"), "TIME", "time limit, such as 2:00:00"),
    "cpus_per_process": (("-c", "--cpus-per-task"), "N", "CPUs of each process"),
    "memory_per_process": (
        ("--memory-per-process",),
        "SIZE",
        "memory of each process, such as 8G",
    ),
    "signal": (
        ("--signal",),
        "NAME@S",
        "a signal before the time limit, such as URG@120",
    ),
}
_SITE = {
    "partition": (("-p", "--partition"), "NAME", "same as sbatch --partition"),
    "account": (("-A", "--account"), "NAME", "same as sbatch --account"),
    "qos": (("-q", "--qos"), "NAME", "same as sbatch --qos"),
    "constraint": (("-C", "--constraint"), "LIST", "same as sbatch --constraint"),
    "reservation": (("--reservation",), "NAME", "same as sbatch --reservation"),
    "runtime": (("--runtime",), "NAME", "apptainer, pyxis, podman-hpc or bare"),
}

# Options of sbatch that a job has by other means.
_BY_TOPOLOGY = (
    *("-N", "--nodes", "-n", "--ntasks", "--ntasks-per-node"),
    *("-G", "--gpus", "--gpus-per-node", "--gpus-per-task", "--gres"),
)
_BY_MEMORY = ("--mem", "--mem-per-cpu", "--mem-per-gpu")


def main(arguments: Sequence[str]) -> int:
    """Parses the options and prints the script."""
    chosen, args = _read(arguments)

    import os
    import sys

    from jaxsif.job.build import render_job

    script = render_job(
        args, options(chosen, shlex.join(("jax-sif", "job", *arguments)))
    )
    sys.stdout.buffer.write(os.fsencode(script))
    sys.stdout.flush()
    return 0


def options(chosen: dict[str, Any], made_by: str) -> JobOptions:
    """The values of the options of `add_options`."""
    from jaxsif.job.build import JobOptions

    return JobOptions(
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
    """The options; and the profile, the program and its arguments."""
    # Parsed twice: options may come before and after the profile, while those after the
    # program are the program's.
    chosen = _parse(parser, arguments)
    args = chosen.words
    if args:
        chosen = _parse(parser, args[1:], chosen)
        args = [args[0], *_strip_separator(chosen.words)]
    return vars(chosen), args


def _parse(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    chosen: argparse.Namespace | None = None,
) -> argparse.Namespace:
    found = chosen or argparse.Namespace()
    _, unknown = parser.parse_known_args(arguments, found)
    if unknown:
        parser.error(_unknown(parser, unknown[0]))
    return found


def _unknown(parser: argparse.ArgumentParser, text: str) -> str:
    """The message for an option that does not exist, with what to write instead."""
    from difflib import get_close_matches

    option = text.partition("=")[0] if text.startswith("--") else text[:2]
    if option in _BY_TOPOLOGY:
        hint = "the topology has it: G8N2p4 is 8 devices on 2 nodes in 4 processes"
    elif option in _BY_MEMORY:
        hint = "memory is requested by process: --memory-per-process=8G"
    elif not text.startswith("--"):
        hint = "for an option of sbatch use its long name: --sbatch=--mail-type=END"
    else:
        known = [name for name in parser._option_string_actions if name[1] == "-"]
        near = get_close_matches(option, known, n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}? " if near else ""
        value = "" if "=" in text else "[=VALUE]"
        hint += f"for an option of sbatch: --sbatch={text}{value}"
    return f"no option {text}; {hint}"


def _strip_separator(args: list[str]) -> list[str]:
    return args[1:] if args[:1] == ["--"] else args


def _changes(chosen: dict[str, Any], fields: Iterable[str]) -> dict[str, str]:
    return {name: chosen[name] for name in fields if chosen[name] is not None}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif job",
        usage="jax-sif job [options] PROFILE [options] [PROGRAM [ARGUMENT ...]]",
        description="Prints a job script. PROFILE is a name (jax-sif profile list),"
        " a file, or a topology such as G8N2p8. PROGRAM defaults to that of the"
        " profile, or to the all-reduce check.",
        epilog="jax-sif job G8N2p8 train.py --epochs 3 | sbatch",
        allow_abbrev=False,
    )
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a job, and the remaining arguments."""
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument(
        "--site",
        help="a name (jax-sif site list) or a file (default: $JAX_SIF_SITE, or generic)",
    )
    for owner, fields in (("profile", _PROFILE), ("site", _SITE)):
        group = parser.add_argument_group(f"override values from the {owner}")
        for field, (names, metavar, text) in fields.items():
            group.add_argument(*names, dest=field, metavar=metavar, help=text)
    parser.add_argument(
        *("-o", "--output"),
        default="%x-%j.out",
        metavar="FILE",
        help="same as sbatch --output (default: %(default)s)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the verdict as JSON to FILE"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE|FILE.sqsh",
        help="set a variable for the program (may be repeated), or mount a package"
        " overlay (jax-sif packages)",
    )
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="any other option of sbatch: --sbatch=--mail-type=END; may be repeated",
    )
    parser.add_argument(
        "--requeue",
        action="store_true",
        help="let Slurm restart the job after a preemption",
    )
    parser.add_argument(
        "--divides",
        action="append",
        type=int,
        default=[],
        metavar="N",
        help="fail unless N (for example the batch size) is divisible by the number of"
        " devices",
    )
    parser.add_argument(
        "--stage",
        action="store_true",
        help="copy the image and your packages to each node's local disk first",
    )
    parser.add_argument(
        "--collectives",
        choices=("gloo", "mpi"),
        default="gloo",
        help="library for collectives between CPU devices (default: %(default)s)",
    )
