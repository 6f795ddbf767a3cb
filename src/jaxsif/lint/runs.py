"""The programs that a script starts, with launcher, container and variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from jaxsif.lint.model import Assignment, Command, Word
from jaxsif.lint.options import (
    NO_OPTIONS,
    SRUN,
    CommandOption,
    ParsedOptions,
    parse_options,
)
from jaxsif.lint.programs import (
    OTHER_LAUNCHERS,
    RUNTIMES,
    SHELLS,
    WRAPPERS,
    Container,
    container_of,
    first_index,
    is_installer,
    is_non_jax,
    is_program,
    is_utility,
    option_variables,
    pyxis_container,
    runs_python,
    strip_wrappers,
)
from jaxsif.lint.resources import UNKNOWN, ResourceRequest, step_resources
from jaxsif.lint.shell import Budget, ParsedScript, parse_shell

_INTO_CONTAINER = ("APPTAINERENV_", "SINGULARITYENV_")
_MAX_EXPORTED = 256
# Options of srun that hold for all components of a heterogeneous step.
_COMMON_OPTIONS = ("kill-on-bad-exit", "export", "wait")
# The options of a job, or of a component of a heterogeneous job, and what they request.
JobComponent = tuple[ParsedOptions, ResourceRequest]
# Scripts in scripts; deeper nesting is unusual.
_MAX_NESTING = 4


@dataclass(frozen=True)
class ProgramRun:
    """A program that a command of the script starts.

    Attributes:
      line: the command's line.
      command: the command.
      launcher: `srun`, another launcher, or "" if the batch shell starts it.
      resources: the nodes, tasks and GPUs of the run.
      job: those of the job, or of the component of a heterogeneous job.
      requested: the options of the job's, or component's, directives.
      srun: the options of srun.
      container: the container in which it runs.
      program: its command line.
      variables: its environment, as far as the script sets it.
      has_entry: whether it is started by the kit's entry, by name.
    """

    line: int
    command: Command
    launcher: str
    resources: ResourceRequest
    job: ResourceRequest = UNKNOWN
    requested: ParsedOptions = NO_OPTIONS
    srun: ParsedOptions = NO_OPTIONS
    container: Container | None = None
    program: tuple[Word, ...] = ()
    variables: Mapping[str, Assignment] = field(default_factory=dict)
    has_entry: bool = False

    @property
    def is_srun_step(self) -> bool:
        return self.launcher == "srun"

    @property
    def is_background(self) -> bool:
        return self.command.context.is_background

    @property
    def is_utility(self) -> bool:
        return is_utility(self.program)

    @property
    def is_installer(self) -> bool:
        return is_installer(self.program)

    @property
    def runs_python(self) -> bool:
        return runs_python(self.program)

    @property
    def runs_jax(self) -> bool:
        """Whether it is Python without a different framework, as far as known."""
        return self.runs_python and not is_non_jax(self.program)

    @property
    def is_snippet(self) -> bool:
        """Whether it is `python -c TEXT`, as a rule a check before the work."""
        is_python = bool(self.program) and runs_python(self.program[:1])
        return is_python and "-c" in [word.text for word in self.program[1:3]]

    @property
    def is_script(self) -> bool:
        """Whether it is a shell script in a file of its own."""
        words = [word for word in self.program if not word.text.startswith("-")]
        is_shell = len(words) > 1 and words[0].base in SHELLS
        return is_shell and not self.launcher and not self.container

    @property
    def starts_instance(self) -> bool:
        """Whether it starts a container that later commands join."""
        return self.container is not None and self.container.action == "instance start"

    @property
    def may_run_on_cpu(self) -> bool:
        return "cpu" in self.value("JAX_PLATFORMS")

    def value(self, name: str) -> str:
        """Return the value of a variable; "" if the script does not set it."""
        return self.variables[name].text if name in self.variables else ""

    def with_variables(self, more: Mapping[str, Assignment]) -> ProgramRun:
        return replace(self, variables={**self.variables, **more})


def find_runs(
    script: ParsedScript,
    components: Sequence[JobComponent],
    known: Mapping[str, str],
    budget: Budget,
) -> list[ProgramRun]:
    """Return all programs that the commands of a script start, in order.

    Args:
      script: the parsed script.
      components: the options and resources of the job, or of each component of a
        heterogeneous job.
      known: the variables known before it starts.
      budget: the limits for scripts within the script, as in `bash -c`.
    """
    finder = _RunFinder(components, known, budget)
    return [
        run
        for command, exported in _with_environment(script)
        for run in finder.start(command, exported)
    ]


def _with_environment(
    script: ParsedScript,
) -> Iterator[tuple[Command, dict[str, Assignment]]]:
    """Yield each command with the variables that it receives."""
    exported: dict[str, Assignment] = {}
    seen = 0
    for command in script.commands:
        if command.order > seen:
            exported = _export(script.assignments[seen : command.order], exported)
            seen = command.order
        yield command, exported | {a.name: a for a in command.assignments}


def _export(
    assignments: Sequence[Assignment], before: Mapping[str, Assignment]
) -> dict[str, Assignment]:
    """Return the exported variables after some assignments, up to a limit."""
    exported = dict(before)
    for assignment in assignments:
        name = assignment.name
        if not assignment.is_exported or len(exported) > _MAX_EXPORTED:
            continue
        if assignment.value is not None:
            exported[name] = assignment
        elif assignment.is_unconditional:
            exported.pop(name, None)
        elif name in exported:
            exported[name] = replace(exported[name], is_unconditional=False)
    return exported


@dataclass(frozen=True)
class _RunFinder:
    components: Sequence[JobComponent]
    known: Mapping[str, str]
    budget: Budget

    def start(
        self, command: Command, variables: dict[str, Assignment]
    ) -> Iterator[ProgramRun]:
        args, assigned = strip_wrappers(command.args)
        if not args:
            return
        name = args[0].base
        requested, job = self.components[0]
        run = ProgramRun(
            command.line,
            command,
            "",
            job,
            job,
            requested,
            variables=variables | assigned,
        )
        if name == "srun":
            yield from self._steps(replace(run, launcher=name), args[1:])
        elif name in OTHER_LAUNCHERS:
            start = first_index(args, is_program) or 1
            run = replace(run, launcher=name, resources=ResourceRequest())
            yield from self._unwrap(run, args[start:], 0)
        elif is_program(args[0]) or name in WRAPPERS:
            yield from self._unwrap(run, args, 0)

    def _steps(self, run: ProgramRun, args: Sequence[Word]) -> Iterator[ProgramRun]:
        """Yield the programs of srun, of `srun A : B` for each component."""
        common: tuple[CommandOption, ...] = ()
        count = len(self.components)
        parts = islice(_parts_of_step(args), count) if count > 1 else [args]
        for index, part in enumerate(parts):
            options = parse_options(part, SRUN)
            options = replace(options, options=(*common, *options.options))
            common = tuple(o for o in options.options if o.name in _COMMON_OPTIONS)
            requested, job = self._component(options, index)
            step = replace(
                run,
                srun=options,
                job=job,
                requested=requested,
                resources=step_resources(job, requested, options),
                container=pyxis_container(options),
            ).with_variables(option_variables(options, "export"))
            yield from self._unwrap(step, options.remaining, 0)

    def _component(self, options: ParsedOptions, part: int) -> JobComponent:
        """Return the component in which a step runs; unknown if it is in several."""
        index = options.number("het-group") if options.has("het-group") else part
        if index is not None and index < len(self.components):
            return self.components[index]
        has_gpus = any(job.has_gpus for _, job in self.components)
        return NO_OPTIONS, ResourceRequest(has_gpus=has_gpus)

    def _unwrap(
        self, run: ProgramRun, args: Sequence[Word], depth: int
    ) -> Iterator[ProgramRun]:
        """Strip wrappers, containers and shells until the program is left."""
        args, assigned = strip_wrappers(args)
        run = run.with_variables(assigned)
        if count := _entry_args(args):
            run, args = replace(run, has_entry=True), args[count:]
        if args and args[0].base in RUNTIMES:
            if inside := container_of(args):
                container, program = inside
                run = replace(run, container=container)
                run = run.with_variables(_container_variables(run, container))
                yield from self._unwrap(run, program, depth)
            return
        nested = _nested_script(args, run.command)
        if nested is None or depth >= _MAX_NESTING:
            yield replace(run, program=tuple(args))
            return
        text, line = nested
        # The lines before it are parsed again as empty ones.
        if self.budget.take(1 + line // 16):
            lines = [""] * (line - 1) + text.split("\n")
            script = parse_shell(lines, self.known, budget=self.budget)
            for command, variables in _with_environment(script):
                inner = run.with_variables(variables)
                yield from self._unwrap(inner, command.args, depth + 1)


def _parts_of_step(args: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """Yield the words between the `:` of a step in several components."""
    start = 0
    for index, word in enumerate(args):
        if word.text == ":":
            yield args[start:index]
            start = index + 1
    yield args[start:]


def _entry_args(args: Sequence[Word]) -> int:
    """Return how many arguments are `jax-sif run`, or the entry's path in the image."""
    if [word.base for word in args[:2]] == ["jax-sif", "run"]:
        return 2
    return 1 if args and args[0].text.endswith("/jaxsif/entry") else 0


def _nested_script(args: Sequence[Word], command: Command) -> tuple[str, int] | None:
    """Return the script of `bash -c TEXT` or `bash <<EOF`, and its first line."""
    if not args or args[0].base not in SHELLS:
        return None
    for word, following in zip(args[1:], args[2:], strict=False):
        if word.text.startswith("-") and word.text.endswith("c"):
            return following.text, following.line
        if not word.text.startswith("-"):
            return None
    heredoc = command.heredoc
    if heredoc and heredoc.text and all(w.text.startswith("-") for w in args[1:]):
        return heredoc.text, heredoc.line
    return None


def _container_variables(
    run: ProgramRun, container: Container
) -> dict[str, Assignment]:
    """Return the variables that a container adds."""
    if not container.is_apptainer:
        return {}
    variables = {
        name.removeprefix(prefix): assignment
        for prefix in _INTO_CONTAINER
        for name, assignment in run.variables.items()
        if name.startswith(prefix)
    }
    return variables | option_variables(container.options, "env")
