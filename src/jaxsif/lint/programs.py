"""Classifies programs: Python, shell, container runtime, launcher, utility."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence

from jaxsif.lint.words import Word

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
