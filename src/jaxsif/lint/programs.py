"""Recognizes programs, wrappers and containers in a command line."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from jaxsif.lint.model import Assignment, Word
from jaxsif.lint.options import APPTAINER, NO_OPTIONS, ParsedOptions, parse_options

APPTAINER_NAMES = ("apptainer", "singularity")
RUNTIMES = (*APPTAINER_NAMES, "podman-hpc", "podman", "docker", "shifter")
SHELLS = ("bash", "sh", "dash", "ksh", "zsh", "ash")
MPI_LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun", "ibrun")
# Launchers that replace srun.
OTHER_LAUNCHERS = frozenset(
    (
        *MPI_LAUNCHERS,
        *[
            "torchrun",
            "accelerate",
            "deepspeed",
            "horovodrun",
            "aprun",
            "jsrun",
            "flux",
            "parallel",
        ],
        *["xargs", "pdsh", "clush", "ssh", "djaxrun", "ray", "dask-mpi"],
    )
)
# Wrappers whose options have no values.
_PLAIN_WRAPPERS = (
    *("exec", "time", "nohup", "command", "builtin", "setsid", "nice", "eval"),
)
# Wrappers with their own options.
WRAPPERS = frozenset(
    [
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
        "uv",
        "poetry",
        "pixi",
        "conda",
        "mamba",
        "micromamba",
        "strace",
        "catchsegv",
    ]
)
# Programs that print, copy or clean up, and do not compute.
_UTILITIES = frozenset(
    [
        "hostname",
        "nvidia-smi",
        "rocm-smi",
        "date",
        "echo",
        "printf",
        "ls",
        "mkdir",
        "cp",
        "mv",
        "rm",
        "rsync",
        "tar",
        "unzip",
        "cat",
        "env",
        "printenv",
        "true",
        "false",
        "sleep",
        "sync",
        "df",
        "du",
        "free",
        "ulimit",
        "whoami",
        "uname",
        "lscpu",
        "nproc",
        "id",
        "pwd",
        "touch",
        "chmod",
        "sed",
        "grep",
        "find",
        "test",
        "wc",
        "head",
        "tail",
        "kill",
        "pkill",
        "killall",
        "ln",
        "stat",
        "dd",
        "scontrol",
        "sbcast",
        "ibstat",
        "ibv_devinfo",
        "nvcc",
        "which",
        "module",
        "squeue",
        "sacct",
        "cd",
        "export",
        "set",
        "unset",
    ]
)
# Commands that change the shell, or wait.
_SETUP = frozenset(
    (
        *("source", ".", "ml", "conda", "mamba", "micromamba", "spack", "deactivate"),
        *("trap", "wait", "exit", "return", "read", "shift", "eval", ":", "[", "[["),
        *("break", "continue", "local", "declare", "sbatch", "pip", "git", "make"),
        *("cmake", "wget", "curl", "scancel", "gzip", "zip", "mail", "nvidia-smi"),
    )
)
_PYTHON_RE = re.compile(r"(?:python|ipython|pypy)[\d.]*|jax-python")
_NON_JAX_RE = re.compile(r"torch|accelerate|deepspeed|horovod|lightning|tensorflow")
_INSTALLER_MODULES = ("pip", "venv", "virtualenv", "ensurepip", "compileall", "conda")
_ASSIGNMENT_RE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)

_IMAGE_NAME_RE = re.compile(r"IMAGE|IMG|SIF|CONTAINER", re.IGNORECASE)
_ACTIONS = ("run", "exec", "shell", "test")
_GPU_OPTIONS = (
    *("--gpu", "--gpus", "--device", "--nv", "--hooks-dir", "--module=gpu"),
    "--runtime=nvidia",
)


def _is_python(word: Word) -> bool:
    return _PYTHON_RE.fullmatch(word.base) is not None


def is_program(word: Word) -> bool:
    """Whether a wrapper's arguments end here: at Python, a shell or a runtime."""
    is_known = word.base in RUNTIMES or word.base in SHELLS
    return is_known or _is_python(word) or word.text.endswith(".py")


def _is_launcher_or_program(word: Word) -> bool:
    return word.base == "srun" or word.base in OTHER_LAUNCHERS or is_program(word)


def first_index(args: Sequence[Word], condition: Callable[[Word], bool]) -> int | None:
    return next((i for i, word in enumerate(args) if condition(word)), None)


def is_utility(program: Sequence[Word]) -> bool:
    """Whether it only prints, copies or cleans up; the rules ignore it."""
    return bool(program) and program[0].base in _UTILITIES


def is_setup(program: Sequence[Word]) -> bool:
    """Whether a command prepares the shell, copies or prints: no program of the job."""
    return not program or is_utility(program) or program[0].base in _SETUP


def runs_python(program: Sequence[Word]) -> bool:
    """Whether it is a Python program, and not an installer."""
    if is_utility(program) or is_installer(program):
        return False
    return any(_is_python(word) or word.text.endswith(".py") for word in program)


def is_non_jax(program: Sequence[Word]) -> bool:
    """Whether it belongs to a framework other than JAX."""
    return any(_NON_JAX_RE.search(word.text) for word in program)


def is_installer(program: Sequence[Word]) -> bool:
    """Whether it is `python -m pip`, `python -m venv`, `pip`, `python --version`."""
    texts = [word.text for word in program]
    if program and program[0].base in ("pip", "pip3"):
        return True
    if texts[1:2] and texts[1] in ("--version", "-V", "-VV"):
        return True
    return any(
        option == "-m" and module in _INSTALLER_MODULES
        for option, module in zip(texts, texts[1:], strict=False)
    )


def strip_wrappers(args: Sequence[Word]) -> tuple[list[Word], dict[str, Assignment]]:
    """Return the arguments after `exec`, `env A=1`, `timeout 60`, and the variables."""
    remaining = list(args)
    variables: dict[str, Assignment] = {}
    while remaining:
        name = remaining[0].base
        start = first_index(remaining, _is_launcher_or_program)
        if name in WRAPPERS and start:
            del remaining[:start]
        elif name in _PLAIN_WRAPPERS:
            del remaining[0]
            while remaining and remaining[0].text.startswith("-"):
                del remaining[0]
        elif name == "env":
            del remaining[0]
            variables |= _take_assignments(remaining)
        else:
            break
    return remaining, variables


def _take_assignments(args: list[Word]) -> dict[str, Assignment]:
    """Remove the options and assignments of `env`, and return the assignments."""
    variables: dict[str, Assignment] = {}
    while args:
        more = _assignments([args[0].text], args[0])
        if args[0].text in ("-u", "--unset", "-C") and len(args) > 1:
            del args[0]
        elif not more and not args[0].text.startswith("-"):
            break
        variables |= more
        del args[0]
    return variables


def _assignments(texts: Iterable[str], word: Word) -> dict[str, Assignment]:
    """Return the assignments among texts of a word such as `NAME=value`."""
    matches = filter(None, map(_ASSIGNMENT_RE.fullmatch, texts))
    return {
        m[1]: Assignment(m[1], word.line, replace(word, text=m[2]), is_exported=True)
        for m in matches
    }


def option_variables(options: ParsedOptions, name: str) -> dict[str, Assignment]:
    """Return the variables of options such as `--export=ALL,NAME=value`."""
    variables: dict[str, Assignment] = {}
    for option in options.options:
        if option.name == name and option.value is not None:
            variables |= _assignments(option.value.text.split(","), option.value)
    return variables


@dataclass(frozen=True)
class Container:
    """How a container is started.

    Attributes:
      runtime: the container runtime.
      action: its subcommand: run, exec, shell, test.
      line: its line in the script.
      image: the image, if it is known where it is.
      options: the options of the action.
      gives_gpus: whether the options give it GPUs; None if unknown.
    """

    runtime: str
    action: str
    line: int
    image: Word | None = None
    options: ParsedOptions = NO_OPTIONS
    gives_gpus: bool | None = None

    @property
    def is_apptainer(self) -> bool:
        return self.runtime in APPTAINER_NAMES


def container_of(args: Sequence[Word]) -> tuple[Container, tuple[Word, ...]] | None:
    """Return the container that a runtime starts, and the program in it.

    None if it starts nothing: `apptainer pull`.
    """
    runtime = args[0]
    if runtime.base in APPTAINER_NAMES:
        return _apptainer_container(runtime, args[1:])
    if runtime.base == "shifter":
        return _other_container(runtime, "run", args[1:])
    action = args[1].text if len(args) > 1 else ""
    if action not in ("run", "exec"):
        return None
    return _other_container(runtime, action, args[2:])


def _apptainer_container(
    runtime: Word, args: Sequence[Word]
) -> tuple[Container, tuple[Word, ...]] | None:
    action, *args = parse_options(args, APPTAINER).remaining or (runtime,)
    if action.text == "instance" and args and args[0].text in ("start", "run"):
        action = replace(action, text="instance start")
        args = args[1:]
    if action.text not in (*_ACTIONS, "instance start"):
        return None
    options = _with_image(parse_options(args, APPTAINER))
    image = options.remaining[0] if options.remaining else None
    gives_gpus: bool | None = options.has("nv", "nvccli", "rocm")
    if image is not None and image.text.startswith("instance://"):
        # It joins a container that has been started with its own options.
        gives_gpus = None
    if options.is_incomplete or any(option.error for option in options.options):
        gives_gpus = gives_gpus or None
    container = Container(
        runtime.base, action.text, runtime.line, image, options, gives_gpus
    )
    return container, options.remaining[1:]


def _with_image(options: ParsedOptions) -> ParsedOptions:
    """Take the last of unknown variables before the program as the image."""
    remaining = options.remaining
    *unparsed, last = options.unparsed or (None,)
    if last is None:
        return options
    is_before_program = not remaining or is_program(remaining[0])
    if not is_before_program and not any(map(_IMAGE_NAME_RE.search, last.names)):
        return options
    return replace(options, remaining=(last, *remaining), unparsed=tuple(unparsed))


def _other_container(
    runtime: Word, action: str, args: Sequence[Word]
) -> tuple[Container, tuple[Word, ...]]:
    """Return the container of a runtime whose options end at a known program."""
    start = first_index(args, is_program)
    before, program = args[:start], () if start is None else args[start:]
    gives_gpus = any(word.text.startswith(_GPU_OPTIONS) for word in before)
    # The image is the last argument before a known program.
    has_image = before and program and not before[-1].text.startswith("-")
    image = before[-1] if has_image else None
    container = Container(
        runtime.base, action, runtime.line, image, gives_gpus=gives_gpus
    )
    return container, tuple(program)


def pyxis_container(srun: ParsedOptions) -> Container | None:
    """Return the container that srun starts: Pyxis, or a site's container engine."""
    option = srun.last("container-image", "environment", "uenv")
    if option is None:
        return None
    action = "run" if srun.has("container-entrypoint") else "exec"
    # Their hooks mount the GPUs of the step without an option.
    return Container("pyxis", action, option.line, option.value, srun, True)
