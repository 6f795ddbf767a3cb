"""`jax-sif job`: prints a job script for a profile, a site and a program."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsif.job.request import JobOptions

# Options that override a field of the profile, or of the site: by field the names,
# which are sbatch's if they mean the same, the metavar and the help.
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
    "packages": (
        ("--packages",),
        "FILE.sqsh",
        "package overlay to mount (see jax-sif packages)",
    ),
}
_SITE = {
    "partition": (("-p", "--partition"), "NAME", "same as sbatch --partition"),
    "account": (("-A", "--account"), "NAME", "same as sbatch --account"),
    "qos": (("-q", "--qos"), "NAME", "same as sbatch --qos"),
    "constraint": (("-C", "--constraint"), "LIST", "same as sbatch --constraint"),
    "reservation": (("--reservation",), "NAME", "same as sbatch --reservation"),
    "runtime": (
        ("--runtime",),
        "NAME",
        "apptainer or bare; experimental: pyxis, podman-hpc",
    ),
}

# Options of sbatch that a job has by other means.
_BY_TOPOLOGY = (
    *("-N", "--nodes", "-n", "--ntasks", "--ntasks-per-node"),
    *("-G", "--gpus", "--gpus-per-node", "--gpus-per-task", "--gres"),
)
_BY_MEMORY = ("--mem", "--mem-per-cpu", "--mem-per-gpu")


def main(arguments: Sequence[str]) -> int:
    """Parses the options and prints the script."""
    chosen, args = read(parser(), arguments)

    import os
    import sys

    from jaxsif.job.build import render_job

    command_line = shlex.join(("jax-sif", "job", *arguments))
    script = render_job(args, options(chosen, command_line))
    sys.stdout.buffer.write(os.fsencode(script))
    sys.stdout.flush()
    return 0


class _Override(argparse.Action):
    """Adds the value to a dictionary: `const` is the field of a profile or site."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        changes = getattr(namespace, self.dest, {})
        if self.const == "packages" and "packages" in changes:
            parser.error(
                f"--packages names {changes['packages']!r} and {values!r}, but a job"
                " can have only one overlay; combine them: jax-sif packages create"
            )
        # An option without a value is a switch.
        changes[self.const] = True if self.nargs == 0 else values
        setattr(namespace, self.dest, changes)


def options(chosen: dict[str, Any], command_line: str) -> JobOptions:
    """The options of `add_options`, whose destinations are the fields of JobOptions."""
    from jaxsif.job.request import JobOptions

    fields = chosen.keys() & JobOptions.__dataclass_fields__.keys()
    return JobOptions(
        **{name: chosen[name] for name in fields}, command_line=command_line
    )


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


# All others, with the arguments of add_argument.
_OTHER_OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("--site",): {
        "help": "a name (jax-sif site list) or a file (default: $JAX_SIF_SITE, or"
        " generic)"
    },
    ("--requeue",): {
        "action": _Override,
        "dest": "profile_changes",
        "const": "requeue",
        "nargs": 0,
        "help": "let Slurm restart the job after a preemption",
    },
    ("-o", "--output"): {
        "metavar": "FILE",
        "help": "same as sbatch --output (default: %%x-%%j.out)",
    },
    ("--verdict-file",): {
        "metavar": "FILE",
        "help": "write the verdict as JSON to FILE",
    },
    ("--env",): {
        "action": "append",
        "dest": "environment",
        "metavar": "NAME=VALUE",
        "help": "set a variable for the program; may be repeated",
    },
    ("--sbatch",): {
        "action": "append",
        "dest": "sbatch_options",
        "metavar": "OPTION",
        "help": "any other option of sbatch: --sbatch=--mail-type=END; may be repeated",
    },
    ("--divisible-by",): {
        "action": "append",
        "type": int,
        "metavar": "N",
        "help": "fail unless N (for example the batch size) is divisible by the number"
        " of devices",
    },
    ("--stage",): {
        "action": "store_true",
        "dest": "is_staged",
        "help": "copy the image and your packages to each node's local disk first",
    },
    ("--max-restarts",): {
        "type": int,
        "metavar": "N",
        "help": "experimental: start the program again after a failure, at most N"
        " times",
    },
    ("--spare-nodes",): {
        "type": int,
        "metavar": "N",
        "help": "experimental: allocate N more nodes, to replace one that fails",
    },
    ("--collectives",): {
        "choices": ("gloo", "mpi"),
        "help": "library for collectives between CPU devices (default: gloo;"
        " experimental: mpi)",
    },
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a job, and the remaining arguments."""
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    for owner, fields in (("profile", _PROFILE), ("site", _SITE)):
        group = parser.add_argument_group(f"override values from the {owner}")
        for field, (names, metavar, text) in fields.items():
            group.add_argument(
                *names,
                action=_Override,
                dest=f"{owner}_changes",
                const=field,
                default=argparse.SUPPRESS,
                metavar=metavar,
                help=text,
            )
    for names, settings in _OTHER_OPTIONS.items():
        # The defaults are those of JobOptions.
        parser.add_argument(*names, default=argparse.SUPPRESS, **settings)
