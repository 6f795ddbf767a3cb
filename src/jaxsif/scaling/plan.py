"""The jobs of a scaling study: the same program on different numbers of nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote

import msgspec

from jaxsif.core import strict_json
from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.topology import Topology
from jaxsif.job.build import render_job, topology_for
from jaxsif.job.request import JobOptions, program_name

PLAN = "study.json"

# Files of a study: scripts, which may be overwritten, and results, which may not.
_SCRIPT = re.compile(r"\d+(-\d+)?\.slurm", re.ASCII)
_RESULT = re.compile(r"jobs|\d+(-\d+)?\.(out|json)|scale\.(html|csv|json)", re.ASCII)


@dataclass(frozen=True)
class Study:
    """A strong scaling study (constant work), or a weak one (work by nodes).

    Args:
      program: its command line on the fewest nodes.
      nodes: in rising order.
      weak_arguments: options whose number is multiplied by the nodes; none: strong.
      repeats: runs per number of nodes.
    """

    program: tuple[str, ...]
    nodes: tuple[int, ...]
    weak_arguments: tuple[str, ...] = ()
    repeats: int = 1

    @property
    def is_weak(self) -> bool:
        return bool(self.weak_arguments)

    @property
    def name(self) -> str:
        """`train` of `python src/train.py --epochs 3`."""
        return program_name(self.program)

    @property
    def jobs(self) -> Iterator[tuple[str, int]]:
        """The name and nodes of each job, one whole series after another.

        Changes over time, such as network load, then affect all node counts.
        """
        for turn in range(1, self.repeats + 1):
            for nodes in self.nodes:
                yield (str(nodes) if turn == 1 else f"{nodes}-{turn}"), nodes


def node_counts(text: str) -> tuple[int, ...]:
    """The numbers of `1,2,4`, in rising order. Raises UsageError."""
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)+", text, re.ASCII):
        raise UsageError(
            f"--nodes is {text!r}, expected two or more numbers of nodes, as in 1,2,4"
        )
    counts = tuple(sorted(set(map(int, text.split(",")))))
    if len(counts) < 2:
        raise UsageError(
            f"--nodes is {text!r}, expected at least two different numbers"
        )
    return counts


def scale_arguments(
    program: Sequence[str], names: Sequence[str], factor: int
) -> list[str]:
    """Return the command line with the number of each `--name` multiplied.

    Raises UsageError when an option is missing, or its value is not a whole number.
    """
    args = list(program)
    for name in names:
        option = f"--{name.lstrip('-')}"
        for i, word in enumerate(args):
            if word.startswith(f"{option}="):
                args[i] = (
                    f"{option}={_number(option, word[len(option) + 1 :]) * factor}"
                )
                break
            if word == option and i + 1 < len(args):
                args[i + 1] = str(_number(option, args[i + 1]) * factor)
                break
        else:
            raise UsageError(
                f"--scale-argument={name} is not an option in {' '.join(program)!r};"
                " name an option that sets the amount of work, and pass it after the"
                " program"
            )
    return args


def _number(option: str, text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text, re.ASCII):
        raise UsageError(f"{option} is {text!r}, expected a whole number from 1")
    return int(text)


def scripts(
    profile: str, study: Study, options: JobOptions, folder: Path
) -> dict[str, str]:
    """The text of each job's script, by job name.

    Processes per node and devices per process are always the profile's.
    """
    shape = topology_for([profile, *study.program], options)
    found = {}
    for name, nodes in study.jobs:
        topology = Topology(nodes, shape.processes_per_node, shape.devices_per_process)
        program = scale_arguments(
            study.program, study.weak_arguments, nodes // study.nodes[0]
        )
        changes = {**options.profile_changes, "topology": topology.label}
        found[name] = render_job(
            [profile, *program],
            replace(
                options,
                profile_changes={"name": f"{study.name}-{name}", **changes},
                command_line=f"{options.command_line} && cat"
                f" {quote(str(folder))}/{name}.slurm",
                output=str(folder / f"{name}.out"),
                verdict_file=str(folder / f"{name}.json"),
            ),
        )
    return found


def check(study: Study) -> None:
    """Raises UsageError for zero runs, or for work that cannot grow with the nodes."""
    if study.repeats < 1:
        raise UsageError(f"--repeat is {study.repeats}, expected 1 or more")
    first = study.nodes[0]
    uneven = [n for n in study.nodes if n % first]
    if study.is_weak and uneven:
        raise UsageError(
            f"--scale-argument multiplies the work, and {uneven[0]} nodes are not a"
            f" multiple of {first}; give --nodes as in {first},{2 * first},{4 * first}"
        )


def folder_for(study: Study, named: str | None) -> Path:
    """The folder for a study, which never overwrites results of an earlier one.

    Raises UsageError when the given folder holds such results.
    """
    if named is None:
        own = f"scale-{study.name}"
        names = itertools.chain([own], (f"{own}-{n}" for n in itertools.count(2)))
        return next(path for path in map(Path, names) if not _has_results(path))
    folder = Path(named)
    if _has_results(folder):
        raise UsageError(
            f"{named!r} holds the results of an earlier study; name another folder with"
            " --output-dir, or move it away"
        )
    return folder


def _has_results(folder: Path) -> bool:
    return (folder / PLAN).exists() and any(
        _RESULT.fullmatch(path.name) for path in folder.iterdir()
    )


def write(folder: Path, study: Study, texts: Mapping[str, str]) -> None:
    """Writes the scripts and the study; removes the scripts of an earlier study."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Nothing is deleted from a folder without a study.
        if (folder / PLAN).exists():
            for old in list(folder.iterdir()):
                if _SCRIPT.fullmatch(old.name):
                    old.unlink()
        for name, text in texts.items():
            (folder / f"{name}.slurm").write_text(text)
        (folder / PLAN).write_text(strict_json.encode(asdict(study)))
    except OSError as error:
        raise KitError(
            f"cannot write into {str(folder)!r}: {error.strerror}; name another folder"
            " with --output-dir"
        ) from error


def read(folder: Path) -> Study:
    """The study in a folder. Raises UsageError when there is none."""
    path = folder / PLAN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Study)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"no scaling study in {str(folder)!r} ({error}); name a folder that"
            " jax-sif scale created"
        ) from error
