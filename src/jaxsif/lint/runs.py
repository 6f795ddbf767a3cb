"""The programs that a script starts, with launcher, container and variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jaxsif.lint.model import Assignment, Command, Word
from jaxsif.lint.options import NO_OPTIONS, SRUN, ParsedOptions, parse_options
from jaxsif.lint.programs import (
    OTHER_LAUNCHERS,
    RUNTIMES,
    SHELLS,
    WRAPPERS,
    Container,
    container_of,
    first_index,
    is_non_jax,
    is_program,
    is_utility,
    option_variables,
    pyxis_container,
    runs_python,
    strip_wrappers,
)
from jaxsif.lint.resources import ResourceRequest, step_resources
from jaxsif.lint.shell import Budget, ParsedScript, parse_shell

_INTO_CONTAINER = ("APPTAINERENV_", "SINGULARITYENV_")
_MAX_EXPORTED = 256
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
    def runs_python(self) -> bool:
        return runs_python(self.program)

    @property
    def runs_jax(self) -> bool:
        """Whether it is Python without a different framework, as far as known."""
        return self.runs_python and not is_non_jax(self.program)

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
    job: ResourceRequest,
    job_options: ParsedOptions,
    known: Mapping[str, str],
    budget: Budget,
) -> list[ProgramRun]:
    """Return all programs that the commands of a script start, in order.

    Args:
      script: the parsed script.
      job: the resources of the job.
      job_options: the options of its directives.
      known: the variables known before it starts.
      budget: the limits for scripts within the script, as in `bash -c`.
    """
    finder = _RunFinder(job, job_options, known, budget)
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
    job: ResourceRequest
    job_options: ParsedOptions
    known: Mapping[str, str]
    budget: Budget

    def start(
        self, command: Command, variables: dict[str, Assignment]
    ) -> Iterator[ProgramRun]:
        args, assigned = strip_wrappers(command.args)
        if not args:
            return
        name = args[0].base
        run = ProgramRun(
            command.line, command, "", self.job, variables=variables | assigned
        )
        if name == "srun":
            options = parse_options(args[1:], SRUN)
            run = replace(
                run,
                launcher=name,
                srun=options,
                resources=step_resources(self.job, self.job_options, options),
                container=pyxis_container(options),
            ).with_variables(option_variables(options, "export"))
            yield from self._unwrap(run, options.remaining, 0)
        elif name in OTHER_LAUNCHERS:
            start = first_index(args, is_program) or 1
            run = replace(run, launcher=name, resources=ResourceRequest())
            yield from self._unwrap(run, args[start:], 0)
        elif is_program(args[0]) or name in WRAPPERS:
            yield from self._unwrap(run, args, 0)

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
