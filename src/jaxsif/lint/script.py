"""A job script for the rules: directives, resources, commands, started programs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from jaxsif.core import slurm_env
from jaxsif.lint.frameworks import JAX, OTHER, framework_of
from jaxsif.lint.model import DEFAULT_OPTIONS, Assignment, Command, Word, apply_set
from jaxsif.lint.options import (
    NO_OPTIONS,
    SBATCH,
    CommandOption,
    ParsedOptions,
    parse_options,
)
from jaxsif.lint.programs import SHELLS
from jaxsif.lint.resources import UNKNOWN, ResourceRequest, job_resources
from jaxsif.lint.runs import ProgramRun, find_runs
from jaxsif.lint.shell import Budget, ParsedScript, extract_heredocs, parse_shell

_PREFIX = "#SBATCH"
# Misspelled directives, which Slurm ignores as comments.
_MISSPELLED_RE = re.compile(r"\s*#+\s*(S[BATCH]{4,6}|sbatch|Sbatch)\b(?=\s+--?\w)")
# `#SBATCH hetjob` begins the next part of a heterogeneous job.
_HETEROGENEOUS_JOB = ("hetjob", "packjob")
# As in Slurm.
_MAX_COMPONENTS = 128


@dataclass(frozen=True)
class Directives:
    """The #SBATCH lines of a script, parsed by Slurm's rules (tested on sbatch 26.05).

    Attributes:
      options: the options.
      components: those of each part of a heterogeneous job; of others there is one.
      malformed: words that sbatch refuses.
      after_first_command: the lines of directives that Slurm ignores, because a
        command precedes them.
      misspelled: the lines of comments that look like directives.
      first_command: the line of the first command.
    """

    options: ParsedOptions = NO_OPTIONS
    components: tuple[ParsedOptions, ...] = (NO_OPTIONS,)
    malformed: tuple[Word, ...] = ()
    after_first_command: tuple[int, ...] = ()
    misspelled: tuple[int, ...] = ()
    first_command: int | None = None

    @property
    def is_heterogeneous(self) -> bool:
        """Whether it is a heterogeneous job, of several components."""
        return len(self.components) > 1

    def line_of(self, *names: str) -> int | None:
        """Return the line of the effective one of the named options."""
        option = self.options.last(*names)
        return option.line if option else None


def parse_directives(lines: Sequence[str]) -> Directives:
    """Parse the directives of a script."""
    components: list[list[CommandOption]] = [[]]
    malformed: list[Word] = []
    after_first_command: list[int] = []
    misspelled: list[int] = []
    first_command = None
    for number, line in enumerate(lines, start=1):
        if line.startswith(_PREFIX):
            if first_command is not None:
                after_first_command.append(number)
                continue
            args = split_directive(line[len(_PREFIX) :], number)
            if args and args[0].text in _HETEROGENEOUS_JOB:
                if len(components) < _MAX_COMPONENTS:
                    components.append([])
            else:
                _parse_line(args, components[-1], malformed)
        elif line.strip() and not line.lstrip().startswith("#"):
            first_command = first_command or number
        elif first_command is None and _is_misspelled(line):
            misspelled.append(number)
    return Directives(
        ParsedOptions(tuple(chain.from_iterable(components))),
        tuple(ParsedOptions(tuple(options)) for options in components),
        tuple(malformed),
        tuple(after_first_command),
        tuple(misspelled),
        first_command,
    )


def _parse_line(
    args: list[Word], options: list[CommandOption], malformed: list[Word]
) -> None:
    """Parse as getopt_long, which continues after arguments that are not options."""
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


# A line with a statement or comment of Jinja alone.
_TEMPLATE_RE = re.compile(r"^[ \t]*\{[%#][^\n]*[%#]\}[ \t]*$", re.MULTILINE)
# Statements that print, and so discard the status that they print.
PRINTS_RE = re.compile(r"\s*(?:echo|printf|print|logger|log|tee|date)\b")
BETWEEN_COMMANDS_RE = re.compile(r"[;{}()\n]|&&|\|\|?")
# A name that is not assigned: `$rc`, `${rc:-1}`, and `rc` where a number is expected.
_READ_NAME_RE = re.compile(r"(?<![\w=])([A-Za-z_]\w*)\b(?!\+?=(?!=))")
_TEMPLATE_VALUE_RE = re.compile(r"\{\{[^{}\n]*\}\}")
_KIT_IMAGE_RE = re.compile(r"\bJAX_IMAGE\b|jax-sif[^/]*$")
# Limit of variables, and values of each, that are searched for the source of a word.
_MAX_SOURCES = 64
# Centres use the same names and variable for their own images.
_OTHER_MODULE_RE = re.compile(r"(?:jax|.*-sif)(?:/.*)?")
_KIT_MODULE_RE = re.compile(r"jax-sif(?:/.*)?")


@dataclass(frozen=True)
class Script:
    """A parsed job script.

    Attributes:
      lines: its lines, without line ends.
      dos_line: the first line that ends as on Windows.
      interpreter: the name in the shebang, "" without one.
      directives: its #SBATCH lines.
      resources: the nodes, tasks and GPUs of the job; of a heterogeneous job those of
        its first component, where the script runs.
      parsed: its commands and assignments; none if it is not a shell script.
      runs: the programs that it starts.
    """

    lines: tuple[str, ...]
    dos_line: int | None
    interpreter: str
    directives: Directives
    resources: ResourceRequest
    parsed: ParsedScript
    runs: tuple[ProgramRun, ...]

    @property
    def commands(self) -> tuple[Command, ...]:
        return self.parsed.commands

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        return self.parsed.assignments

    @property
    def is_shell(self) -> bool:
        return self.interpreter in ("", *SHELLS)

    @property
    def steps(self) -> Iterator[ProgramRun]:
        return (run for run in self.runs if run.is_srun_step)

    @property
    def jax_runs(self) -> Iterator[ProgramRun]:
        """The Python programs, unless the script names another framework."""
        is_other = self.framework == OTHER
        return (run for run in self.runs if run.runs_jax and not is_other)

    @cached_property
    def is_batch_script(self) -> bool:
        """Whether it is certainly for sbatch, and not run by hand or by srun."""
        directives = self.directives
        return bool(
            directives.options.options
            or directives.malformed
            or directives.after_first_command
        )

    @cached_property
    def framework(self) -> str:
        """JAX, OTHER, or "" if the script names none."""
        return framework_of(self.lines)

    @property
    def is_jax(self) -> bool:
        """Whether the script names JAX, or a program of it."""
        return self.framework == JAX

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
        has_kit = any(map(_KIT_MODULE_RE.fullmatch, names)) or any(
            command.name == "jax-sif" for command in self.commands
        )
        return not has_kit and any(map(_OTHER_MODULE_RE.fullmatch, names))

    def is_kit_image(self, run: ProgramRun) -> bool:
        """Whether a program runs in this kit's image, judging by its name."""
        image = run.container.image if run.container else None
        if image is None or self.has_other_image:
            return False
        names = self.variable_sources(image)
        values = [v for n in names for v in self._values.get(n, ())[:_MAX_SOURCES]]
        texts = [image.text, *names, *(value.text for value in values)]
        return any(map(_KIT_IMAGE_RE.search, texts))

    def uses_image_entry(self, run: ProgramRun) -> bool:
        """Whether the image's entry sets port, devices and certificates for it."""
        if run.value("JAX_SIF_ENTRY") == "off":
            return False
        if run.has_entry or (run.program and run.program[0].base == "jax-python"):
            return True
        is_run = run.container is not None and run.container.action == "run"
        return is_run and self.is_kit_image(run)

    @property
    def workloads(self) -> Iterator[ProgramRun]:
        """The steps, containers and Python programs, without utilities."""
        return (
            run
            for run in self.runs
            if not (run.is_utility or run.is_installer)
            and (run.launcher or run.container or run.runs_python or run.is_script)
            and not run.starts_instance
            and not run.is_snippet
            # A shell for a person.
            and not run.srun.has("pty")
        )

    @cached_property
    def last_line(self) -> int:
        """The last line that is not empty."""
        return max(
            (n for n, line in enumerate(self.lines, 1) if line.strip()), default=1
        )

    @cached_property
    def used_names(self) -> set[str]:
        """The names that the script reads other than to print them."""
        return {
            name
            for line in self.lines
            if not line.lstrip().startswith("#")
            for part in BETWEEN_COMMANDS_RE.split(line)
            if not PRINTS_RE.match(part)
            for name in _READ_NAME_RE.findall(part)
        }

    def command_names(self, first: int, last: int) -> set[str]:
        """Return the names of the commands in some lines."""
        lines = (self._names_by_line.get(n, ()) for n in range(first, last + 1))
        return set(chain.from_iterable(lines))

    @cached_property
    def _names_by_line(self) -> dict[int, list[str]]:
        names: dict[int, list[str]] = defaultdict(list)
        for command in self.commands:
            names[command.line].append(command.name)
        return names

    @cached_property
    def _values(self) -> dict[str, list[Word]]:
        """The values that the script assigns to each variable."""
        values: dict[str, list[Word]] = defaultdict(list)
        for assignment in self.assignments:
            if assignment.value:
                values[assignment.name].append(assignment.value)
        return values

    def variable_sources(self, word: Word) -> set[str]:
        """Return the variables from which a word is derived, even through others."""
        sources, pending = set[str](), list(word.names)
        while pending and len(sources) < _MAX_SOURCES:
            name = pending.pop()
            if name not in sources:
                sources.add(name)
                values = self._values.get(name, ())[:_MAX_SOURCES]
                pending += [n for value in values for n in value.names]
        return sources

    def assignments_of(self, *names: str) -> list[Assignment]:
        """Return the unconditional assignments of variables that programs receive."""
        exported = [a for a in self.assignments if a.is_exported and a.name in names]
        for run in self.runs:
            exported += [a for name, a in run.variables.items() if name in names]
        unique = dict.fromkeys(a for a in exported if a.value and a.is_unconditional)
        return sorted(unique, key=lambda assignment: assignment.line)


def parse_script(text: str) -> Script:
    """Parse any text as a job script."""
    raw = _without_template(text).split("\n")
    lines = tuple(line.removesuffix("\r") for line in raw)
    dos_line = next((n for n, line in enumerate(raw, 1) if line.endswith("\r")), None)
    interpreter, *arguments = _shebang(lines[0])
    directives = parse_directives(lines)
    if directives.after_first_command and interpreter in ("", *SHELLS):
        # A script within the script is another one.
        kept, _ = extract_heredocs(lines)
        late = tuple(n for n in directives.after_first_command if kept[n - 1])
        directives = replace(directives, after_first_command=late)
    components = [
        # Without directives the options are on some command line, or it is no job.
        (options, job_resources(options) if options.options else UNKNOWN)
        for options in directives.components
    ]
    resources = components[0][1]
    parsed, runs = ParsedScript(), list[ProgramRun]()
    if interpreter in ("", *SHELLS):
        known, budget = _known_variables(directives, resources), Budget()
        shell_options = apply_set(DEFAULT_OPTIONS, arguments)
        parsed = parse_shell(lines, known, shell_options, budget)
        runs = find_runs(parsed, components, known, budget)
    return Script(
        lines, dos_line, interpreter, directives, resources, parsed, tuple(runs)
    )


def _without_template(text: str) -> str:
    """Remove the statements of a Jinja template before the script, blank the others."""
    if "{{" in text:
        text = _TEMPLATE_VALUE_RE.sub("{{}}", text)
    if "{%" not in text and "{#" not in text:
        return text
    kept = _TEMPLATE_RE.sub("", text)
    # What precedes the script in the template does not do so in the rendered file.
    before = len(kept) - len(kept.lstrip("\n"))
    return kept[before:] + "\n" * before


def _shebang(line: str) -> list[str]:
    """Return the interpreter's name, "" without one, and its options."""
    if not line.startswith("#!"):
        return [""]
    args = [word for word in line[2:].split() if word != "-S"] or [""]
    if posixpath.basename(args[0]) == "env":
        args = args[1:] or [""]
    return [posixpath.basename(args[0]), *args[1:]]


def _known_variables(
    directives: Directives, resources: ResourceRequest
) -> dict[str, str]:
    """Return the variables of Slurm that follow from the directives."""
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
    known = {"HOME": "$HOME", "USER": "$USER", "PWD": "$PWD"}
    known |= {name: str(value) for name, value in numbers.items() if value is not None}
    gpus = requested.text("gpus-per-node")
    # Of a heterogeneous job they have a number behind their names.
    if directives.is_heterogeneous:
        return {name: text for name, text in known.items() if text.startswith("$")}
    return known | ({slurm_env.GPUS_PER_NODE: gpus} if gpus else {})
