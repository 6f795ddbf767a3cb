"""The programs that a script starts, with launcher, container and variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jaxsif.lint.model import Assignment, Command, Word
from jaxsif.lint.options import (
    APPTAINER,
    NO_OPTIONS,
    SRUN,
    CommandOption,
    ParsedOptions,
    parse_options,
)
from jaxsif.lint.resources import ResourceRequest, step_resources

RUNTIMES = ("singularity", "apptainer", "podman-hpc", "podman", "docker", "shifter")
SHELLS = ("bash", "sh", "dash", "ksh", "zsh", "ash")
MPI_LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun", "ibrun")
# Launchers, which replace srun.
OTHER_LAUNCHERS = (
    *MPI_LAUNCHERS,
    *("torchrun", "accelerate", "deepspeed", "horovodrun", "aprun", "jsrun", "flux"),
    *("parallel", "xargs", "pdsh", "clush", "ssh", "djaxrun", "ray", "dask-mpi"),
)
# Wrappers whose options have no values.
PLAIN_WRAPPERS = ("exec", "time", "nohup", "command", "builtin", "setsid", "nice")
# Wrappers with their own options.
WRAPPERS = (
    *(
        "timeout",
        "nice",
        "time",
        "chrt",
        "stdbuf",
        "numactl",
        "taskset",
        "ionice",
        "nsys",
        "ncu",
        "perf",
    ),
    *("uv", "poetry", "pixi", "conda", "mamba", "micromamba", "strace", "catchsegv"),
)
# Programs that print, copy or clean up, and do not compute.
_UTILITIES = """
    hostname nvidia-smi rocm-smi date echo printf ls mkdir cp mv rm rsync tar unzip cat
    env printenv true false sleep sync df du free ulimit whoami uname lscpu nproc id pwd
    touch chmod sed grep find test wc head tail kill pkill killall ln stat dd scontrol
    sbcast ibstat ibv_devinfo nvcc which module squeue sacct cd export set unset
"""
_UTILITIES_NAMES = frozenset(_UTILITIES.split())
_PYTHON = re.compile(r"(?:python|ipython|pypy)[\d.]*|jax-python")
_NON_JAX = re.compile(r"torch|accelerate|deepspeed|horovod|lightning|tensorflow")
_NO_PROGRAM = ("pip", "venv", "virtualenv", "ensurepip", "compileall", "conda")


def is_python(word: Word) -> bool:
    return _PYTHON.fullmatch(word.base) is not None


def is_launcher_or_program(word: Word) -> bool:
    """Whether the arguments of a wrapper end here."""
    return (
        is_python(word)
        or word.base in RUNTIMES
        or word.base in SHELLS
        or word.text.endswith(".py")
    )


def is_utility(program: Sequence[Word]) -> bool:
    """Whether it is a utility, which the rules ignore."""
    return bool(program) and program[0].base in _UTILITIES_NAMES


def runs_python(program: Sequence[Word]) -> bool:
    """Whether it runs a Python program, not an installer."""
    if is_utility(program) or is_installer(program):
        return False
    return any(is_python(word) or word.text.endswith(".py") for word in program)


def is_installer(program: Sequence[Word]) -> bool:
    """`python -m pip`, `python -m venv`, `pip`, `python --version`"""
    texts = [word.text for word in program]
    if program and program[0].base in ("pip", "pip3"):
        return True
    if texts[1:2] and texts[1] in ("--version", "-V", "-VV"):
        return True
    return any(
        option == "-m" and name in _NO_PROGRAM
        for option, name in zip(texts, texts[1:], strict=False)
    )


def is_non_jax(program: Sequence[Word]) -> bool:
    """Whether it belongs to a framework other than JAX."""
    return any(_NON_JAX.search(word.text) for word in program)


_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def strip_wrappers(args: Sequence[Word]) -> tuple[list[Word], dict[str, Assignment]]:
    """The words without `exec`, `env A=1`, `timeout 60`, and the variables these set."""
    remaining = list(args)
    variables: dict[str, Assignment] = {}
    while remaining:
        name = remaining[0].base
        if name in WRAPPERS and (start := _wrapped(remaining)):
            del remaining[:start]
        elif name in PLAIN_WRAPPERS:
            del remaining[0]
            while remaining and remaining[0].text.startswith("-"):
                del remaining[0]
        elif name == "env":
            del remaining[0]
            _take_assignments(remaining, variables)
        else:
            break
    return remaining, variables


def _take_assignments(remaining: list[Word], variables: dict[str, Assignment]) -> None:
    while remaining:
        word = remaining[0]
        found = _ASSIGNMENT.fullmatch(word.text)
        if word.text in ("-u", "--unset", "-C") and len(remaining) > 1:
            del remaining[0]
        elif found:
            variables[found[1]] = _setting(found[1], found[2], word)
        elif not word.text.startswith("-"):
            return
        del remaining[0]


def _setting(name: str, text: str, word: Word) -> Assignment:
    return Assignment(name, word.line, replace(word, text=text), is_exported=True)


def _wrapped(args: Sequence[Word]) -> int:
    """Where the wrapper's arguments end: at a program or a launcher."""
    launchers = ("srun", *OTHER_LAUNCHERS)
    found = (i for i, word in enumerate(args) if word.base in launchers)
    program = first_launcher_or_program(args)
    return min(filter(None, (next(found, 0), program)), default=0)


def first_launcher_or_program(args: Sequence[Word]) -> int:
    found = (i for i, word in enumerate(args) if is_launcher_or_program(word))
    return next(found, 0)


def parse_assignment_list(word: Word) -> dict[str, Assignment]:
    """The variables of `NAME=value,NAME=value`; other items are ignored."""
    found = map(_ASSIGNMENT.fullmatch, word.text.split(","))
    return {pair[1]: _setting(pair[1], pair[2], word) for pair in found if pair}


_IMAGE = re.compile(r"IMAGE|IMG|SIF|CONTAINER", re.IGNORECASE)
_ACTIONS = ("run", "exec", "shell", "test")
_GPU_WORDS = ("--gpu", "--gpus", "--device", "--nv", "--hooks-dir", "--module=gpu")


@dataclass(frozen=True)
class Container:
    """How a container is started.

    `gives_gpus` says whether its options let it see GPUs; None if unknown.
    """

    runtime: str
    action: str
    line: int
    image: Word | None = None
    options: ParsedOptions = NO_OPTIONS
    gives_gpus: bool | None = None

    @property
    def is_apptainer(self) -> bool:
        return self.runtime in ("apptainer", "singularity")


def container_of(args: Sequence[Word]) -> tuple[Container, tuple[Word, ...]] | None:
    """The container that a runtime's words start, and what runs in it.

    None where they start nothing: `apptainer pull`.
    """
    runtime = args[0]
    if runtime.base in ("apptainer", "singularity"):
        return _apptainer(runtime, args[1:])
    if runtime.base == "shifter":
        return _other(runtime, "run", args[1:])
    action = args[1].text if len(args) > 1 else ""
    return _other(runtime, action, args[2:]) if action in ("run", "exec") else None


def _apptainer(
    runtime: Word, args: Sequence[Word]
) -> tuple[Container, tuple[Word, ...]] | None:
    globally = parse_options(args, APPTAINER)
    if not globally.remaining or globally.remaining[0].text not in _ACTIONS:
        return None
    action, *behind = globally.remaining
    options = _with_image(parse_options(behind, APPTAINER))
    image, program = options.remaining[:1], options.remaining[1:]
    gives_gpus = options.has("nv", "nvccli", "rocm") or (
        None if options.is_incomplete or _has_unknown(options.options) else False
    )
    container = Container(
        runtime.base,
        action.text,
        runtime.line,
        image[0] if image else None,
        options,
        gives_gpus,
    )
    return container, program


def _with_image(options: ParsedOptions) -> ParsedOptions:
    """Of unknown variables in front of the program the last is the image."""
    is_program = not options.remaining or is_launcher_or_program(options.remaining[0])
    if not options.unparsed or not (is_program or _is_image(options.unparsed[-1])):
        return options
    *unparsed, image = options.unparsed
    return replace(
        options, remaining=(image, *options.remaining), unparsed=tuple(unparsed)
    )


def _is_image(word: Word) -> bool:
    return any(_IMAGE.search(name) for name in word.names)


def _has_unknown(options: Sequence[CommandOption]) -> bool:
    return any(option.error for option in options)


def _other(
    runtime: Word, action: str, args: Sequence[Word]
) -> tuple[Container, tuple[Word, ...]]:
    """Of runtimes with many options: where something familiar begins, they end."""
    start = next(
        (i for i, w in enumerate(args) if is_launcher_or_program(w)), len(args)
    )
    before, program = args[:start], args[start:]
    gives_gpus = any(word.text.startswith(_GPU_WORDS) for word in before)
    # The image is the last argument before a known program.
    names_image = before and program and not before[-1].text.startswith("-")
    image = before[-1] if names_image else None
    container = Container(runtime.base, action, runtime.line, image)
    return replace(container, gives_gpus=gives_gpus), tuple(program)


def pyxis_container(srun: ParsedOptions) -> Container | None:
    """The container that srun itself starts: Pyxis, or a site's container engine."""
    option = srun.last("container-image", "environment", "uenv")
    if option is None:
        return None
    action = "run" if srun.has("container-entrypoint") else "exec"
    # Their hooks mount the GPUs of the step without an option.
    return Container("pyxis", action, option.line, option.value, srun, True)


_INTO_CONTAINER = ("APPTAINERENV_", "SINGULARITYENV_")
_MAX_EXPORTED = 256
# Scripts in scripts; deeper nesting is unusual.
MAX_NESTING = 4

# Parses a script that is an argument: its text and first line.
ReadNested = Callable[[str, int], tuple[Sequence[Command], Sequence[Assignment]]]


@dataclass(frozen=True)
class ProgramRun:
    """A program that a command of the script starts.

    `launcher` is `srun`, the name of another one, or "" where the batch shell starts it;
    `srun` are its options. `variables` is what the program finds in its environment.
    """

    line: int
    command: Command
    launcher: str
    resources: ResourceRequest
    srun: ParsedOptions = NO_OPTIONS
    container: Container | None = None
    program: tuple[Word, ...] = ()
    variables: Mapping[str, Assignment] = field(default_factory=dict)
    has_entry: bool = False  # it is started by the kit's entry, by name

    @property
    def is_srun_step(self) -> bool:
        return self.launcher == "srun"

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
        assignment = self.variables.get("JAX_PLATFORMS")
        return bool(assignment and assignment.value and "cpu" in assignment.value.text)

    def sets(self, name: str, text: str) -> bool:
        assignment = self.variables.get(name)
        return bool(assignment and assignment.value and assignment.value.text == text)


def find_runs(
    commands: Sequence[Command],
    assignments: Sequence[Assignment],
    job: ResourceRequest,
    job_options: ParsedOptions,
    read_nested: ReadNested,
) -> list[ProgramRun]:
    """All programs that the commands start, in order."""
    finder = _RunFinder(job, job_options, read_nested)
    return [
        run
        for command, exported in _with_environment(commands, assignments)
        for run in finder.start(command, exported)
    ]


def _with_environment(
    commands: Sequence[Command], assignments: Sequence[Assignment]
) -> Iterator[tuple[Command, dict[str, Assignment]]]:
    """Each command with the variables exported before it."""
    exported: dict[str, Assignment] = {}
    seen = 0
    for command in commands:
        if command.order > seen:
            exported = environment(assignments[seen : command.order], exported)
            seen = command.order
        yield command, exported


def environment(
    assignments: Sequence[Assignment], before: Mapping[str, Assignment]
) -> dict[str, Assignment]:
    """The exported variables after some assignments, up to a limit."""
    exported = dict(before)
    for assignment in assignments:
        if not assignment.is_exported or len(exported) > _MAX_EXPORTED:
            continue
        if assignment.value is None and assignment.is_unconditional:
            exported.pop(assignment.name, None)
        elif assignment.value is None and assignment.name in exported:
            known = exported[assignment.name]
            exported[assignment.name] = replace(known, is_unconditional=False)
        elif assignment.value is not None:
            exported[assignment.name] = assignment
    return exported


@dataclass(frozen=True)
class _RunFinder:
    job: ResourceRequest
    job_options: ParsedOptions
    read_nested: ReadNested

    def start(
        self, command: Command, variables: dict[str, Assignment]
    ) -> Iterator[ProgramRun]:
        variables = variables | {s.name: s for s in command.assignments}
        args, assigned = strip_wrappers(command.args)
        if not args:
            return
        name = args[0].base
        run = ProgramRun(
            command.line, command, "", self.job, variables=variables | assigned
        )
        if name == "srun":
            yield from self._srun(run, args)
        elif name in OTHER_LAUNCHERS:
            start = first_launcher_or_program(args)
            run = replace(run, launcher=name, resources=ResourceRequest())
            yield from self._unwrap(run, args[start:] or args[1:], 0)
        elif is_launcher_or_program(args[0]) or args[0].base in WRAPPERS:
            yield from self._unwrap(run, args, 0)

    def _srun(self, run: ProgramRun, args: Sequence[Word]) -> Iterator[ProgramRun]:
        options = parse_options(args[1:], SRUN)
        run = replace(
            run,
            launcher="srun",
            srun=options,
            resources=step_resources(self.job, self.job_options, options),
            container=pyxis_container(options),
            variables={**run.variables, **_exported_by(options)},
        )
        yield from self._unwrap(run, options.remaining, 0)

    def _unwrap(
        self, run: ProgramRun, args: Sequence[Word], depth: int
    ) -> Iterator[ProgramRun]:
        """Strip wrappers, containers and shells until the program is left."""
        args, assigned = strip_wrappers(args)
        run = replace(run, variables={**run.variables, **assigned})
        entry = _entry_words(args)
        if entry:
            run, args = replace(run, has_entry=True), args[entry:]
        if args and args[0].base in RUNTIMES:
            entered = container_of(args)
            if entered is not None:
                container, program = entered
                run = replace(run, container=container)
                run = replace(run, variables=_inside_container(run))
                yield from self._unwrap(run, program, depth)
            return
        nested = _script_in(args, run.command)
        if nested is not None and depth < MAX_NESTING:
            yield from self._nested(run, *nested, depth + 1)
            return
        yield replace(run, program=tuple(args))

    def _nested(
        self, run: ProgramRun, text: str, line: int, depth: int
    ) -> Iterator[ProgramRun]:
        commands, assignments = self.read_nested(text, line)
        for command, exported in _with_environment(commands, assignments):
            assigned = exported | {s.name: s for s in command.assignments}
            inner = replace(run, variables={**run.variables, **assigned})
            yield from self._unwrap(inner, command.args, depth)


def _entry_words(args: Sequence[Word]) -> int:
    """Number of arguments of the kit's entry: `jax-sif run`, or its path in the image."""
    if [word.base for word in args[:2]] == ["jax-sif", "run"]:
        return 2
    return 1 if args and args[0].text.endswith("/jaxsif/entry") else 0


def _exported_by(options: ParsedOptions) -> dict[str, Assignment]:
    """`srun --export=ALL,NAME=value`"""
    option = options.last("export")
    if option is None or option.value is None:
        return {}
    return parse_assignment_list(option.value)


def _inside_container(run: ProgramRun) -> dict[str, Assignment]:
    """The variables that a container adds."""
    variables = dict(run.variables)
    if run.container is None or not run.container.is_apptainer:
        return variables
    for prefix in _INTO_CONTAINER:
        for name, assignment in run.variables.items():
            if name.startswith(prefix):
                variables[name.removeprefix(prefix)] = assignment
    for option in run.container.options.options:
        if option.name == "env" and option.value is not None:
            variables |= parse_assignment_list(option.value)
    return variables


def _script_in(args: Sequence[Word], command: Command) -> tuple[str, int] | None:
    """The script of `bash -c TEXT` or `bash <<EOF`, and its first line."""
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
