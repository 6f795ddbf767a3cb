"""The programs that a script starts, with launcher, container and variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jaxsif.lint import programs
from jaxsif.lint.commands import Command, Setting
from jaxsif.lint.containers import Container, enter, of_pyxis
from jaxsif.lint.options import NO_OPTIONS, Options, read
from jaxsif.lint.shape import ResourceRequest, step_shape
from jaxsif.lint.tables import SRUN
from jaxsif.lint.words import Word
from jaxsif.lint.wrappers import (
    first_of_interest,
    parse_assignment_list,
    strip_wrappers,
)

_INTO_CONTAINER = ("APPTAINERENV_", "SINGULARITYENV_")
_MOST_EXPORTED = 256
# Scripts in scripts; deeper nesting is unusual.
MAX_NESTING = 4

# Parses a script that is an argument: its text and first line.
ReadNested = Callable[[str, int], tuple[Sequence[Command], Sequence[Setting]]]


@dataclass(frozen=True)
class Launch:
    """A program that a command of the script starts.

    `launcher` is `srun`, the name of another one, or "" where the batch shell starts it;
    `srun` are its options. `variables` is what the program finds in its environment.
    """

    line: int
    command: Command
    launcher: str
    shape: ResourceRequest
    srun: Options = NO_OPTIONS
    container: Container | None = None
    program: tuple[Word, ...] = ()
    variables: Mapping[str, Setting] = field(default_factory=dict)
    has_entry: bool = False  # it is started by the kit's entry, by name

    @property
    def is_step(self) -> bool:
        return self.launcher == "srun"

    @property
    def is_small(self) -> bool:
        return programs.is_small(self.program)

    @property
    def runs_python(self) -> bool:
        return programs.runs_python(self.program)

    @property
    def runs_jax(self) -> bool:
        """Whether it is Python without a different framework, as far as known."""
        return self.runs_python and not programs.is_foreign(self.program)

    @property
    def may_be_on_cpu(self) -> bool:
        setting = self.variables.get("JAX_PLATFORMS")
        return bool(setting and setting.value and "cpu" in setting.value.text)

    def sets(self, name: str, text: str) -> bool:
        setting = self.variables.get(name)
        return bool(setting and setting.value and setting.value.text == text)


def find_launches(
    commands: Sequence[Command],
    settings: Sequence[Setting],
    job: ResourceRequest,
    of_job: Options,
    read_nested: ReadNested,
) -> list[Launch]:
    """All programs that the commands start, in order."""
    finder = _Finder(job, of_job, read_nested)
    return [
        launch
        for command, exported in _with_environment(commands, settings)
        for launch in finder.start(command, exported)
    ]


def _with_environment(
    commands: Sequence[Command], settings: Sequence[Setting]
) -> Iterator[tuple[Command, dict[str, Setting]]]:
    """Each command with the variables exported before it."""
    exported: dict[str, Setting] = {}
    seen = 0
    for command in commands:
        if command.order > seen:
            exported = environment(settings[seen : command.order], exported)
            seen = command.order
        yield command, exported


def environment(
    settings: Sequence[Setting], before: Mapping[str, Setting]
) -> dict[str, Setting]:
    """The exported variables after some assignments, up to a limit."""
    exported = dict(before)
    for setting in settings:
        if not setting.is_exported or len(exported) > _MOST_EXPORTED:
            continue
        if setting.value is None and setting.is_certain:
            exported.pop(setting.name, None)
        elif setting.value is None and setting.name in exported:
            known = exported[setting.name]
            exported[setting.name] = replace(known, is_certain=False)
        elif setting.value is not None:
            exported[setting.name] = setting
    return exported


@dataclass(frozen=True)
class _Finder:
    job: ResourceRequest
    of_job: Options
    read_nested: ReadNested

    def start(
        self, command: Command, variables: dict[str, Setting]
    ) -> Iterator[Launch]:
        variables = variables | {s.name: s for s in command.settings}
        words, own = strip_wrappers(command.words)
        if not words:
            return
        name = words[0].base
        launch = Launch(command.line, command, "", self.job, variables=variables | own)
        if name == "srun":
            yield from self._srun(launch, words)
        elif name in programs.OTHER_LAUNCHERS:
            start = first_of_interest(words)
            launch = replace(launch, launcher=name, shape=ResourceRequest())
            yield from self._open(launch, words[start:] or words[1:], 0)
        elif programs.is_of_interest(words[0]) or words[0].base in programs.WRAPPERS:
            yield from self._open(launch, words, 0)

    def _srun(self, launch: Launch, words: Sequence[Word]) -> Iterator[Launch]:
        options = read(words[1:], SRUN)
        launch = replace(
            launch,
            launcher="srun",
            srun=options,
            shape=step_shape(self.job, self.of_job, options),
            container=of_pyxis(options),
            variables={**launch.variables, **_exported_by(options)},
        )
        yield from self._open(launch, options.rest, 0)

    def _open(
        self, launch: Launch, words: Sequence[Word], depth: int
    ) -> Iterator[Launch]:
        """Strip wrappers, containers and shells until the program is left."""
        words, own = strip_wrappers(words)
        launch = replace(launch, variables={**launch.variables, **own})
        entry = _entry_words(words)
        if entry:
            launch, words = replace(launch, has_entry=True), words[entry:]
        if words and words[0].base in programs.RUNTIMES:
            entered = enter(words)
            if entered is not None:
                container, program = entered
                launch = replace(launch, container=container)
                launch = replace(launch, variables=_within(launch))
                yield from self._open(launch, program, depth)
            return
        nested = _script_in(words, launch.command)
        if nested is not None and depth < MAX_NESTING:
            yield from self._nested(launch, *nested, depth + 1)
            return
        yield replace(launch, program=tuple(words))

    def _nested(
        self, launch: Launch, text: str, line: int, depth: int
    ) -> Iterator[Launch]:
        commands, settings = self.read_nested(text, line)
        for command, exported in _with_environment(commands, settings):
            own = exported | {s.name: s for s in command.settings}
            inner = replace(launch, variables={**launch.variables, **own})
            yield from self._open(inner, command.words, depth)


def _entry_words(words: Sequence[Word]) -> int:
    """Number of arguments of the kit's entry: `jax-sif run`, or its path in the image."""
    if [word.base for word in words[:2]] == ["jax-sif", "run"]:
        return 2
    return 1 if words and words[0].text.endswith("/jaxsif/entry") else 0


def _exported_by(options: Options) -> dict[str, Setting]:
    """`srun --export=ALL,NAME=value`"""
    option = options.last("export")
    if option is None or option.value is None:
        return {}
    return parse_assignment_list(option.value)


def _within(launch: Launch) -> dict[str, Setting]:
    """The variables that a container adds."""
    variables = dict(launch.variables)
    if launch.container is None or not launch.container.is_apptainer:
        return variables
    for prefix in _INTO_CONTAINER:
        for name, setting in launch.variables.items():
            if name.startswith(prefix):
                variables[name.removeprefix(prefix)] = setting
    for option in launch.container.options.given:
        if option.name == "env" and option.value is not None:
            variables |= parse_assignment_list(option.value)
    return variables


def _script_in(words: Sequence[Word], command: Command) -> tuple[str, int] | None:
    """The script of `bash -c TEXT` or `bash <<EOF`, and its first line."""
    if not words or words[0].base not in programs.SHELLS:
        return None
    for word, following in zip(words[1:], words[2:], strict=False):
        if word.text.startswith("-") and word.text.endswith("c"):
            return following.text, following.line
        if not word.text.startswith("-"):
            return None
    if all(word.text.startswith("-") for word in words[1:]) and command.heredoc:
        return command.heredoc, command.heredoc_line
    return None
