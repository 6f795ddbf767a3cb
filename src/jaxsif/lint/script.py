"""A job script for the rules: directives, resources, commands, started programs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from jaxsif.core import slurm_env
from jaxsif.lint.model import DEFAULT_OPTIONS, Command, Setting, Word, apply_set
from jaxsif.lint.options import NO_OPTIONS, SBATCH, Option, Options, read
from jaxsif.lint.resources import ResourceRequest, job_shape
from jaxsif.lint.runs import SHELLS, Launch, find_launches
from jaxsif.lint.shell import Budget, Reading, read_shell

_MAGIC = "#SBATCH"
# Misspelled directives, which Slurm ignores as comments.
_NEARLY = re.compile(r"\s*#+\s*(S[BATCH]{4,6}|sbatch|Sbatch|#SBATCH)\b(?=\s+--?\w)")
# `#SBATCH hetjob` begins the next part of a heterogeneous job.
_PARTS = ("hetjob", "packjob")


@dataclass(frozen=True)
class Directives:
    """The options of a script for sbatch.

    `strays` are words that sbatch refuses; `late` the lines of directives behind the
    first command, which Slurm ignores; `comments` those that only look like one.
    """

    options: Options = NO_OPTIONS
    strays: tuple[Word, ...] = ()
    late: tuple[int, ...] = ()
    comments: tuple[int, ...] = ()
    first_command: int | None = None
    is_heterogeneous: bool = False

    def line_of(self, *names: str) -> int | None:
        """The line of an option."""
        option = self.options.last(*names)
        return option.line if option else None


def read_directives(lines: Sequence[str]) -> Directives:
    """Parse the directives of a script."""
    given: list[Option] = []
    strays: list[Word] = []
    late: list[int] = []
    comments: list[int] = []
    first_command = None
    is_heterogeneous = False
    for number, line in enumerate(lines, start=1):
        if line.startswith(_MAGIC):
            if first_command is not None:
                late.append(number)
                continue
            words = split(line[len(_MAGIC) :], number)
            if words and words[0].text in _PARTS:
                is_heterogeneous = True
            else:
                _take(words, given, strays)
        elif line.strip() and not line.lstrip().startswith("#"):
            first_command = first_command or number
        elif first_command is None and _is_nearly(line):
            comments.append(number)
    return Directives(
        Options(tuple(given)),
        tuple(strays),
        tuple(late),
        tuple(comments),
        first_command,
        is_heterogeneous,
    )


def _take(words: list[Word], given: list[Option], strays: list[Word]) -> None:
    """Slurm uses getopt_long, which continues after arguments that are not options."""
    while words:
        options = read(words, SBATCH)
        given += options.given
        strays += options.rest[:1]
        words = list(options.rest[1:])


def _is_nearly(line: str) -> bool:
    found = _NEARLY.match(line)
    # `##SBATCH` is the usual way to disable a directive.
    return found is not None and not line.lstrip().startswith("##")


def split(text: str, line: int) -> list[Word]:
    """Split a line as Slurm does: quotes, backslashes, `#` begins a comment."""
    words: list[Word] = []
    current: str | None = None
    quote = ""
    is_escaped = False
    for character in text:
        if is_escaped:
            current, is_escaped = (current or "") + character, False
        elif character == "\\":
            is_escaped = True
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote, current = character, current or ""
        elif quote:
            current = (current or "") + character
        elif character == "#":
            break
        elif character.isspace():
            words += [Word(current, line)] if current is not None else []
            current = None
        else:
            current = (current or "") + character
    return [*words, Word(current, line)] if current is not None else words


_KIT_IMAGE = re.compile(r"\bJAX_IMAGE\b|jax-sif[^/]*$")
# Limit of variables, and values of each, that are searched for the source of a word.
_MOST_ORIGINS = 64
# Centres use the same names and variable for their own images.
_OTHER_MODULE = re.compile(r"(?:jax|.*-sif)(?:/.*)?")
_KIT_MODULE = re.compile(r"jax-sif(?:/.*)?")


@dataclass(frozen=True)
class Script:
    """A parsed job script. `interpreter` is "" without a shebang."""

    lines: tuple[str, ...]
    interpreter: str
    directives: Directives
    shape: ResourceRequest
    reading: Reading
    launches: tuple[Launch, ...]
    dos_line: int | None = None  # the first that ends as on Windows

    @property
    def commands(self) -> tuple[Command, ...]:
        return self.reading.commands

    @property
    def settings(self) -> tuple[Setting, ...]:
        return self.reading.settings

    @property
    def functions(self) -> frozenset[str]:
        return self.reading.functions

    @property
    def is_shell(self) -> bool:
        return self.interpreter in ("", *SHELLS)

    @property
    def steps(self) -> Iterator[Launch]:
        return (launch for launch in self.launches if launch.is_step)

    @property
    def jax_launches(self) -> Iterator[Launch]:
        return (launch for launch in self.launches if launch.runs_jax)

    @cached_property
    def modules(self) -> list[Word]:
        """The loaded modules, in order."""
        return [
            word
            for command in self.commands
            if command.name in ("module", "ml")
            for word in command.words[1:]
            if word.text not in ("load", "add", "try-load") and word.text[:1] != "-"
        ]

    @cached_property
    def has_other_image(self) -> bool:
        """Whether JAX_IMAGE is a centre's own image, without the kit's entry."""
        names = [word.text for word in self.modules]
        has_kit = any(map(_KIT_MODULE.fullmatch, names)) or any(
            command.name == "jax-sif" for command in self.commands
        )
        return not has_kit and any(map(_OTHER_MODULE.fullmatch, names))

    def is_kit_image(self, launch: Launch) -> bool:
        """Whether a program runs in this kit's image, judging by its name."""
        image = launch.container.image if launch.container else None
        if image is None or self.has_other_image:
            return False
        names = self.origins(image)
        values = [v for n in names for v in self._values.get(n, ())[:_MOST_ORIGINS]]
        texts = [value.text for value in values]
        return any(map(_KIT_IMAGE.search, [image.text, *names, *texts]))

    def passes_entry(self, launch: Launch) -> bool:
        """Whether the image's entry sets port, devices and certificates for it."""
        if launch.sets("JAX_SIF_ENTRY", "off"):
            return False
        program = launch.program
        if launch.has_entry or (program and program[0].base == "jax-python"):
            return True
        container = launch.container
        return bool(container and container.action == "run") and (
            self.is_kit_image(launch)
        )

    @property
    def work(self) -> Iterator[Launch]:
        """The workloads: steps, containers and Python programs, without utilities."""
        return (
            launch
            for launch in self.launches
            if not launch.is_small
            and (launch.launcher or launch.container or launch.runs_python)
        )

    @cached_property
    def _values(self) -> dict[str, list[Word]]:
        """The values that the script assigns to each variable."""
        values: dict[str, list[Word]] = defaultdict(list)
        for setting in self.settings:
            if setting.value:
                values[setting.name].append(setting.value)
        return values

    def origins(self, word: Word) -> set[str]:
        """The variables from which a word is derived, directly or through others."""
        known, waiting = set[str](), list(word.names)
        while waiting and len(known) < _MOST_ORIGINS:
            name = waiting.pop()
            if name not in known:
                known.add(name)
                values = self._values.get(name, ())[:_MOST_ORIGINS]
                waiting += [n for value in values for n in value.names]
        return known

    def assigned(self, *names: str) -> list[Setting]:
        """Unconditional assignments of variables that a program receives."""
        found = [s for s in self.settings if s.is_exported and s.name in names]
        for launch in self.launches:
            found += [s for name, s in launch.variables.items() if name in names]
        unique = dict.fromkeys(s for s in found if s.value and s.is_certain)
        return sorted(unique, key=lambda setting: setting.line)


def read_script(text: str) -> Script:
    """Parse any text as a job script."""
    raw = text.split("\n")
    dos = [number for number, line in enumerate(raw, start=1) if line.endswith("\r")]
    lines = tuple(line.removesuffix("\r") for line in raw)
    interpreter, *arguments = _shebang(lines[0])
    directives = read_directives(lines)
    shape = (
        ResourceRequest()
        if directives.is_heterogeneous
        else job_shape(directives.options)
    )
    first_dos = dos[0] if dos else None
    script = Script(lines, interpreter, directives, shape, Reading(), (), first_dos)
    if not script.is_shell:
        return script
    known = _known_variables(directives, shape)
    budget = Budget()
    reading = read_shell(lines, known, apply_set(DEFAULT_OPTIONS, arguments), budget)

    def read_nested(
        text: str, line: int
    ) -> tuple[Sequence[Command], Sequence[Setting]]:
        # The lines before it are read again as empty ones.
        if not budget.take(1 + line // 16):
            return (), ()
        padded = [""] * (line - 1) + text.split("\n")
        nested = read_shell(padded, known, budget=budget)
        return nested.commands, nested.settings

    launches = find_launches(
        reading.commands, reading.settings, shape, directives.options, read_nested
    )
    return replace(script, reading=reading, launches=tuple(launches))


def _shebang(line: str) -> list[str]:
    """The interpreter's name and its options; "" without one."""
    if not line.startswith("#!"):
        return [""]
    words = [word for word in line[2:].split() if word != "-S"] or [""]
    if posixpath.basename(words[0]) == "env":
        words = words[1:] or [""]
    return [posixpath.basename(words[0]), *words[1:]]


def _known_variables(directives: Directives, shape: ResourceRequest) -> dict[str, str]:
    """Slurm's variables that follow from the directives."""
    asked = directives.options
    numbers = {
        slurm_env.PROCESSES: shape.tasks,
        slurm_env.PROCESSES_OLD: shape.tasks,
        slurm_env.JOB_NODES: shape.nodes,
        slurm_env.NODES_OLD: shape.nodes,
        slurm_env.NTASKS_PER_NODE: asked.number("ntasks-per-node"),
        slurm_env.CPUS_PER_TASK: asked.number("cpus-per-task"),
        slurm_env.GPUS_ON_NODE: shape.gpus_per_node,
    }
    known = {name: str(value) for name, value in numbers.items() if value is not None}
    gpus = asked.text("gpus-per-node")
    return known | ({slurm_env.GPUS_PER_NODE: gpus} if gpus else {})
