"""Container runtimes: how each starts a program in the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxsif.job.request import Job


@dataclass(frozen=True)
class Runtime:
    """The differences between runtimes; arguments are quoted for the shell.

    `prologue` are lines of the script that check or set what the runtime needs,
    `version_command` is shown in the job's first line, `srun_args` are options of srun,
    `container_args` come before the program.
    """

    name: str
    prologue: tuple[str, ...]
    version_command: str
    srun_args: Callable[[Job], list[str]]
    container_args: Callable[[Job], list[str]]


NEEDS_IMAGE = (
    ': "${JAX_IMAGE:?is not set; load the module before you submit:'
    ' module load jax-sif}"'
)
SHOWS_IMAGE = "image $JAX_IMAGE"


def find(name: str) -> Runtime:
    """The runtime of that name (schema.Runtime)."""
    from jaxsif.job.runtimes import apptainer, bare, podman_hpc, pyxis

    known = (apptainer.RUNTIME, pyxis.RUNTIME, podman_hpc.RUNTIME, bare.RUNTIME)
    return next(runtime for runtime in known if runtime.name == name)
