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
from jaxsif.lint.model import DEFAULT_OPTIONS, Assignment, Command, Word, apply_set
from jaxsif.lint.options import (
    NO_OPTIONS,
    SBATCH,
    CommandOption,
    ParsedOptions,
    parse_options,
)
from jaxsif.lint.resources import ResourceRequest, job_resources
from jaxsif.lint.runs import SHELLS, ProgramRun, find_runs
from jaxsif.lint.shell import Budget, ParsedScript, parse_shell

_MAGIC = "#SBATCH"
# Misspelled directives, which Slurm ignores as comments.
_MISSPELLED_RE = re.compile(
    r"\s*#+\s*(S[BATCH]{4,6}|sbatch|Sbatch|#SBATCH)\b(?=\s+--?\w)"
)
# `#SBATCH hetjob` begins the next part of a heterogeneous job.
_PARTS = ("hetjob", "packjob")


@dataclass(frozen=True)
class Directives:
    """The options of a script for sbatch.

    `strays` are words that sbatch refuses; `late` the lines of directives behind the
    first command, which Slurm ignores; `comments` those that only look like one.
    """

    options: ParsedOptions = NO_OPTIONS
    malformed: tuple[Word, ...] = ()
    after_first_command: tuple[int, ...] = ()
    misspelled: tuple[int, ...] = ()
    first_command: int | None = None
    is_heterogeneous: bool = False

    def line_of(self, *names: str) -> int | None:
        """The line of an option."""
        option = self.options.last(*names)
        return option.line if option else None


def parse_directives(lines: Sequence[str]) -> Directives:
    """Parse the directives of a script."""
    options: list[CommandOption] = []
    malformed: list[Word] = []
    after_first_command: list[int] = []
    misspelled: list[int] = []
    first_command = None
    is_heterogeneous = False
    for number, line in enumerate(lines, start=1):
        if line.startswith(_MAGIC):
            if first_command is not None:
                after_first_command.append(number)
                continue
            args = split_directive(line[len(_MAGIC) :], number)
            if args and args[0].text in _PARTS:
                is_heterogeneous = True
            else:
                _parse_line(args, options, malformed)
        elif line.strip() and not line.lstrip().startswith("#"):
            first_command = first_command or number
        elif first_command is None and _is_misspelled(line):
            misspelled.append(number)
    return Directives(
        ParsedOptions(tuple(options)),
        tuple(malformed),
        tuple(after_first_command),
        tuple(misspelled),
        first_command,
        is_heterogeneous,
    )


def _parse_line(
    args: list[Word], options: list[CommandOption], malformed: list[Word]
) -> None:
    """Slurm uses getopt_long, which continues after arguments that are not options."""
    while args:
        parsed = parse_options(args, SBATCH)
        options += parsed.options
        malformed += parsed.remaining[:1]
        args = list(parsed.remaining[1:])


def _is_misspelled(line: str) -> bool:
    found = _MISSPELLED_RE.match(line)
    # `##SBATCH` is the usual way to disable a directive.
    return found is not None and not line.lstrip().startswith("##")


def split_directive(text: str, line: int) -> list[Word]:
    """Split a line as Slurm does: quotes, backslashes, `#` begins a comment."""
    args: list[Word] = []
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
            args += [Word(current, line)] if current is not None else []
            current = None
        else:
            current = (current or "") + character
    return [*args, Word(current, line)] if current is not None else args


_KIT_IMAGE = re.compile(r"\bJAX_IMAGE\b|jax-sif[^/]*$")
# Limit of variables, and values of each, that are searched for the source of a word.
_MAX_SOURCES = 64
# Centres use the same names and variable for their own images.
_OTHER_MODULE = re.compile(r"(?:jax|.*-sif)(?:/.*)?")
_KIT_MODULE = re.compile(r"jax-sif(?:/.*)?")


@dataclass(frozen=True)
class Script:
    """A parsed job script. `interpreter` is "" without a shebang."""

    lines: tuple[str, ...]
    interpreter: str
    directives: Directives
    resources: ResourceRequest
    parsed: ParsedScript
    runs: tuple[ProgramRun, ...]
    dos_line: int | None = None  # the first that ends as on Windows

    @property
    def commands(self) -> tuple[Command, ...]:
        return self.parsed.commands

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        return self.parsed.assignments

    @property
    def functions(self) -> frozenset[str]:
        return self.parsed.functions

    @property
    def is_shell(self) -> bool:
        return self.interpreter in ("", *SHELLS)

    @property
    def steps(self) -> Iterator[ProgramRun]:
        return (run for run in self.runs if run.is_srun_step)

    @property
    def jax_runs(self) -> Iterator[ProgramRun]:
        return (run for run in self.runs if run.runs_jax)

    @cached_property
    def modules(self) -> list[Word]:
        """The loaded modules, in order."""
        return [
            word
            for command in self.commands
            if command.name in ("module", "ml")
            for word in command.args[1:]
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

    def is_kit_image(self, run: ProgramRun) -> bool:
        """Whether a program runs in this kit's image, judging by its name."""
        image = run.container.image if run.container else None
        if image is None or self.has_other_image:
            return False
        names = self.variable_sources(image)
        values = [v for n in names for v in self._values.get(n, ())[:_MAX_SOURCES]]
        texts = [value.text for value in values]
        return any(map(_KIT_IMAGE.search, [image.text, *names, *texts]))

    def uses_image_entry(self, run: ProgramRun) -> bool:
        """Whether the image's entry sets port, devices and certificates for it."""
        if run.sets("JAX_SIF_ENTRY", "off"):
            return False
        program = run.program
        if run.has_entry or (program and program[0].base == "jax-python"):
            return True
        container = run.container
        return bool(container and container.action == "run") and (
            self.is_kit_image(run)
        )

    @property
    def workloads(self) -> Iterator[ProgramRun]:
        """The workloads: steps, containers and Python programs, without utilities."""
        return (
            run
            for run in self.runs
            if not run.is_utility and (run.launcher or run.container or run.runs_python)
        )

    @cached_property
    def _values(self) -> dict[str, list[Word]]:
        """The values that the script assigns to each variable."""
        values: dict[str, list[Word]] = defaultdict(list)
        for assignment in self.assignments:
            if assignment.value:
                values[assignment.name].append(assignment.value)
        return values

    def variable_sources(self, word: Word) -> set[str]:
        """The variables from which a word is derived, directly or through others."""
        known, waiting = set[str](), list(word.names)
        while waiting and len(known) < _MAX_SOURCES:
            name = waiting.pop()
            if name not in known:
                known.add(name)
                values = self._values.get(name, ())[:_MAX_SOURCES]
                waiting += [n for value in values for n in value.names]
        return known

    def assignments_of(self, *names: str) -> list[Assignment]:
        """Unconditional assignments of variables that a program receives."""
        found = [s for s in self.assignments if s.is_exported and s.name in names]
        for run in self.runs:
            found += [s for name, s in run.variables.items() if name in names]
        unique = dict.fromkeys(s for s in found if s.value and s.is_unconditional)
        return sorted(unique, key=lambda assignment: assignment.line)


def parse_script(text: str) -> Script:
    """Parse any text as a job script."""
    raw = text.split("\n")
    dos = [number for number, line in enumerate(raw, start=1) if line.endswith("\r")]
    lines = tuple(line.removesuffix("\r") for line in raw)
    interpreter, *arguments = _shebang(lines[0])
    directives = parse_directives(lines)
    resources = (
        ResourceRequest()
        if directives.is_heterogeneous
        else job_resources(directives.options)
    )
    first_dos = dos[0] if dos else None
    script = Script(
        lines, interpreter, directives, resources, ParsedScript(), (), first_dos
    )
    if not script.is_shell:
        return script
    known = _known_variables(directives, resources)
    budget = Budget()
    parsed = parse_shell(lines, known, apply_set(DEFAULT_OPTIONS, arguments), budget)

    def read_nested(
        text: str, line: int
    ) -> tuple[Sequence[Command], Sequence[Assignment]]:
        # The lines before it are read again as empty ones.
        if not budget.take(1 + line // 16):
            return (), ()
        padded = [""] * (line - 1) + text.split("\n")
        nested = parse_shell(padded, known, budget=budget)
        return nested.commands, nested.assignments

    runs = find_runs(
        parsed.commands, parsed.assignments, resources, directives.options, read_nested
    )
    return replace(script, parsed=parsed, runs=tuple(runs))


def _shebang(line: str) -> list[str]:
    """The interpreter's name and its options; "" without one."""
    if not line.startswith("#!"):
        return [""]
    args = [word for word in line[2:].split() if word != "-S"] or [""]
    if posixpath.basename(args[0]) == "env":
        args = args[1:] or [""]
    return [posixpath.basename(args[0]), *args[1:]]


def _known_variables(
    directives: Directives, resources: ResourceRequest
) -> dict[str, str]:
    """Slurm's variables that follow from the directives."""
    requested = directives.options
    numbers = {
        slurm_env.PROCESSES: resources.tasks,
        slurm_env.PROCESSES_OLD: resources.tasks,
        slurm_env.JOB_NODES: resources.nodes,
        slurm_env.NODES_OLD: resources.nodes,
        slurm_env.NTASKS_PER_NODE: requested.number("ntasks-per-node"),
        slurm_env.CPUS_PER_TASK: requested.number("cpus-per-task"),
        slurm_env.GPUS_ON_NODE: resources.gpus_per_node,
    }
    known = {name: str(value) for name, value in numbers.items() if value is not None}
    gpus = requested.text("gpus-per-node")
    return known | ({slurm_env.GPUS_PER_NODE: gpus} if gpus else {})
