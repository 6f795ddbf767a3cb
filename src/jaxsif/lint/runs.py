"""The programs that a script starts, with launcher, container and variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jaxsif.lint.model import Command, Setting, Word
from jaxsif.lint.options import APPTAINER, NO_OPTIONS, SRUN, Option, Options, read
from jaxsif.lint.resources import ResourceRequest, step_shape

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
_FOREIGN = re.compile(r"torch|accelerate|deepspeed|horovod|lightning|tensorflow")
_NO_PROGRAM = ("pip", "venv", "virtualenv", "ensurepip", "compileall", "conda")


def is_python(word: Word) -> bool:
    return _PYTHON.fullmatch(word.base) is not None


def is_of_interest(word: Word) -> bool:
    """Whether the arguments of a wrapper end here."""
    return (
        is_python(word)
        or word.base in RUNTIMES
        or word.base in SHELLS
        or word.text.endswith(".py")
    )


def is_small(program: Sequence[Word]) -> bool:
    """Whether it is a utility, which the rules ignore."""
    return bool(program) and program[0].base in _UTILITIES_NAMES


def runs_python(program: Sequence[Word]) -> bool:
    """Whether it runs a Python program, not an installer."""
    if is_small(program) or is_installer(program):
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


def is_foreign(program: Sequence[Word]) -> bool:
    """Whether it belongs to a framework other than JAX."""
    return any(_FOREIGN.search(word.text) for word in program)


_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def strip_wrappers(words: Sequence[Word]) -> tuple[list[Word], dict[str, Setting]]:
    """The words without `exec`, `env A=1`, `timeout 60`, and the variables these set."""
    waiting = list(words)
    variables: dict[str, Setting] = {}
    while waiting:
        name = waiting[0].base
        if name in WRAPPERS and (start := _wrapped(waiting)):
            del waiting[:start]
        elif name in PLAIN_WRAPPERS:
            del waiting[0]
            while waiting and waiting[0].text.startswith("-"):
                del waiting[0]
        elif name == "env":
            del waiting[0]
            _take_assignments(waiting, variables)
        else:
            break
    return waiting, variables


def _take_assignments(waiting: list[Word], variables: dict[str, Setting]) -> None:
    while waiting:
        word = waiting[0]
        found = _ASSIGNMENT.fullmatch(word.text)
        if word.text in ("-u", "--unset", "-C") and len(waiting) > 1:
            del waiting[0]
        elif found:
            variables[found[1]] = _setting(found[1], found[2], word)
        elif not word.text.startswith("-"):
            return
        del waiting[0]


def _setting(name: str, text: str, word: Word) -> Setting:
    return Setting(name, word.line, replace(word, text=text), is_exported=True)


def _wrapped(words: Sequence[Word]) -> int:
    """Where the wrapper's arguments end: at a program or a launcher."""
    launchers = ("srun", *OTHER_LAUNCHERS)
    found = (i for i, word in enumerate(words) if word.base in launchers)
    program = first_of_interest(words)
    return min(filter(None, (next(found, 0), program)), default=0)


def first_of_interest(words: Sequence[Word]) -> int:
    found = (i for i, word in enumerate(words) if is_of_interest(word))
    return next(found, 0)


def parse_assignment_list(word: Word) -> dict[str, Setting]:
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
    options: Options = NO_OPTIONS
    gives_gpus: bool | None = None

    @property
    def is_apptainer(self) -> bool:
        return self.runtime in ("apptainer", "singularity")


def enter(words: Sequence[Word]) -> tuple[Container, tuple[Word, ...]] | None:
    """The container that a runtime's words start, and what runs in it.

    None where they start nothing: `apptainer pull`.
    """
    runtime = words[0]
    if runtime.base in ("apptainer", "singularity"):
        return _apptainer(runtime, words[1:])
    if runtime.base == "shifter":
        return _other(runtime, "run", words[1:])
    action = words[1].text if len(words) > 1 else ""
    return _other(runtime, action, words[2:]) if action in ("run", "exec") else None


def _apptainer(
    runtime: Word, words: Sequence[Word]
) -> tuple[Container, tuple[Word, ...]] | None:
    globally = read(words, APPTAINER)
    if not globally.rest or globally.rest[0].text not in _ACTIONS:
        return None
    action, *behind = globally.rest
    options = _with_image(read(behind, APPTAINER))
    image, program = options.rest[:1], options.rest[1:]
    gives_gpus = options.has("nv", "nvccli", "rocm") or (
        None if options.is_open or _has_unknown(options.given) else False
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


def _with_image(options: Options) -> Options:
    """Of unknown variables in front of the program the last is the image."""
    is_program = not options.rest or is_of_interest(options.rest[0])
    if not options.unclear or not (is_program or _is_image(options.unclear[-1])):
        return options
    *unclear, image = options.unclear
    return replace(options, rest=(image, *options.rest), unclear=tuple(unclear))


def _is_image(word: Word) -> bool:
    return any(_IMAGE.search(name) for name in word.names)


def _has_unknown(options: Sequence[Option]) -> bool:
    return any(option.fault for option in options)


def _other(
    runtime: Word, action: str, words: Sequence[Word]
) -> tuple[Container, tuple[Word, ...]]:
    """Of runtimes with many options: where something familiar begins, they end."""
    start = next((i for i, w in enumerate(words) if is_of_interest(w)), len(words))
    before, program = words[:start], words[start:]
    gives_gpus = any(word.text.startswith(_GPU_WORDS) for word in before)
    # The image is the last argument before a known program.
    names_image = before and program and not before[-1].text.startswith("-")
    image = before[-1] if names_image else None
    container = Container(runtime.base, action, runtime.line, image)
    return replace(container, gives_gpus=gives_gpus), tuple(program)


def of_pyxis(srun: Options) -> Container | None:
    """The container that srun itself starts: Pyxis, or a site's container engine."""
    option = srun.last("container-image", "environment", "uenv")
    if option is None:
        return None
    action = "run" if srun.has("container-entrypoint") else "exec"
    # Their hooks mount the GPUs of the step without an option.
    return Container("pyxis", action, option.line, option.value, srun, True)


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
        return is_small(self.program)

    @property
    def runs_python(self) -> bool:
        return runs_python(self.program)

    @property
    def runs_jax(self) -> bool:
        """Whether it is Python without a different framework, as far as known."""
        return self.runs_python and not is_foreign(self.program)

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
        elif name in OTHER_LAUNCHERS:
            start = first_of_interest(words)
            launch = replace(launch, launcher=name, shape=ResourceRequest())
            yield from self._open(launch, words[start:] or words[1:], 0)
        elif is_of_interest(words[0]) or words[0].base in WRAPPERS:
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
        if words and words[0].base in RUNTIMES:
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
    if not words or words[0].base not in SHELLS:
        return None
    for word, following in zip(words[1:], words[2:], strict=False):
        if word.text.startswith("-") and word.text.endswith("c"):
            return following.text, following.line
        if not word.text.startswith("-"):
            return None
    if all(word.text.startswith("-") for word in words[1:]) and command.heredoc:
        return command.heredoc, command.heredoc_line
    return None
