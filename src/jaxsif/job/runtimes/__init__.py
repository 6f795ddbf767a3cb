"""How a program gets into the image: a file per container runtime, each with the same answers; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxsif.job.request import Job


@dataclass(frozen=True)
class Runtime:
    """The lines and words in which runtimes differ; words are quoted for the shell.

    `needs` are lines that end the job when the runtime cannot work, `shows` stands in the
    job's first line; `srun_words` are options of srun, `words` what comes before the
    program.
    """

    name: str
    needs: tuple[str, ...]
    shows: str
    srun_words: Callable[[Job], list[str]]
    words: Callable[[Job], list[str]]


NEEDS_IMAGE = (
    ': "${JAX_IMAGE:?is not set; load the module before you submit:'
    ' module load jax-sif}"'
)
SHOWS_IMAGE = "image $JAX_IMAGE"
ENTRY = "/opt/jax-sif/lib/jaxsif/entry"


def find(name: str) -> Runtime:
    """The runtime of that name, as schema.Runtime has it."""
    from jaxsif.job.runtimes import apptainer, bare, podman_hpc, pyxis

    known = (apptainer.RUNTIME, pyxis.RUNTIME, podman_hpc.RUNTIME, bare.RUNTIME)
    return next(runtime for runtime in known if runtime.name == name)
