"""The jobs of a scaling study: the same program on one number of nodes after another; runs in the container, on a login node."""
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
from jaxsif.job.build import Options, make, topology_for

PLAN = "study.json"

# What a study leaves in its folder: scripts, which can be made again, and what jobs have
# taken their time for.
_SCRIPT = re.compile(r"\d+(-\d+)?\.slurm", re.ASCII)
_RESULT = re.compile(r"jobs|\d+(-\d+)?\.(out|json)|scale\.(html|csv|json)", re.ASCII)


@dataclass(frozen=True)
class Study:
    """What is compared: the same work (strong), or work that grows with the nodes.

    Args:
      program: its words, as on the fewest nodes.
      nodes: in rising order.
      grows: options of the program whose number grows with the nodes; none: strong.
      repeats: so often each number of nodes is run.
    """

    program: tuple[str, ...]
    nodes: tuple[int, ...]
    grows: tuple[str, ...] = ()
    repeats: int = 1

    @property
    def is_weak(self) -> bool:
        return bool(self.grows)

    @property
    def name(self) -> str:
        """`train` of `python src/train.py --epochs 3`."""
        file = next((w for w in self.program if w.endswith(".py")), self.program[0])
        return Path(file).name.removesuffix(".py")

    @property
    def jobs(self) -> Iterator[tuple[str, int]]:
        """The name and nodes of each job. All nodes before any again: what changes with
        time, as the load of the network, then meets them all."""
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
        raise UsageError(f"--nodes is {text!r}: there is nothing to compare it with")
    return counts


def grown(program: Sequence[str], names: Sequence[str], factor: int) -> list[str]:
    """The words with the number behind each `--name` multiplied.

    Raises UsageError when an option is not there, or has no whole number.
    """
    words = list(program)
    for name in names:
        option = f"--{name.lstrip('-')}"
        for i, word in enumerate(words):
            if word.startswith(f"{option}="):
                words[i] = (
                    f"{option}={_number(option, word[len(option) + 1 :]) * factor}"
                )
                break
            if word == option and i + 1 < len(words):
                words[i + 1] = str(_number(option, words[i + 1]) * factor)
                break
        else:
            raise UsageError(
                f"--weak={name} is no option in {' '.join(program)!r}; name one whose"
                " number grows with the nodes, and give it behind the program"
            )
    return words


def _number(option: str, text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text, re.ASCII):
        raise UsageError(f"{option} is {text!r}, expected a whole number that can grow")
    return int(text)


def scripts(
    profile: str, study: Study, options: Options, folder: Path
) -> dict[str, str]:
    """The text of each job's script by the job's name.

    Processes on a node and devices in a process are the profile's everywhere.
    """
    shape = topology_for([profile, *study.program], options)
    found = {}
    for name, nodes in study.jobs:
        topology = Topology(nodes, shape.processes_per_node, shape.devices_per_process)
        program = grown(study.program, study.grows, nodes // study.nodes[0])
        changes = {**options.profile_changes, "topology": topology.label}
        found[name] = make(
            [profile, *program],
            replace(
                options,
                profile_changes={"name": f"{study.name}-{name}", **changes},
                made_by=f"{options.made_by} && cat {quote(str(folder))}/{name}.slurm",
                output=str(folder / f"{name}.out"),
                verdict=str(folder / f"{name}.json"),
            ),
        )
    return found


def check(study: Study) -> None:
    """Raises UsageError when nothing is to run, or the work cannot grow as the nodes do."""
    if study.repeats < 1:
        raise UsageError(f"--repeat is {study.repeats}, expected 1 or more")
    first = study.nodes[0]
    uneven = [n for n in study.nodes if n % first]
    if study.is_weak and uneven:
        raise UsageError(
            f"--weak multiplies the work, and {uneven[0]} nodes are no multiple of"
            f" {first}; give --nodes as in {first},{2 * first},{4 * first}"
        )


def folder_for(study: Study, named: str | None) -> Path:
    """Where a study goes: what an earlier one has measured stays where it is.

    Raises UsageError where the folder that was named holds such results.
    """
    if named is None:
        own = f"scale-{study.name}"
        names = itertools.chain([own], (f"{own}-{n}" for n in itertools.count(2)))
        return next(path for path in map(Path, names) if not _has_results(path))
    folder = Path(named)
    if _has_results(folder):
        raise UsageError(
            f"{named!r} holds the results of an earlier study; name another folder with"
            " --folder, or move it away"
        )
    return folder


def _has_results(folder: Path) -> bool:
    return (folder / PLAN).exists() and any(
        _RESULT.fullmatch(path.name) for path in folder.iterdir()
    )


def write(folder: Path, study: Study, texts: Mapping[str, str]) -> None:
    """Writes the scripts and what they are; the scripts of an earlier study go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder that holds no study keeps what is in it.
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
            " with --folder"
        ) from error


def read(folder: Path) -> Study:
    """The study of a folder. Raises UsageError when it holds none."""
    path = folder / PLAN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Study)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"no scaling study in {str(folder)!r} ({error}); name the folder that"
            " jax-sif scale has made"
        ) from error
