"""podman-hpc, as on Perlmutter: the image's entry point is its entry; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.job.quoting import expanding
from jaxsif.job.request import Job
from jaxsif.job.runtimes import NEEDS_IMAGE, SHOWS_IMAGE, Runtime

# podman hands on none of the host's variables but those it is told of.
_VARIABLES = ("SLURM*", "CUDA*", "JAX*", "XLA*", "NCCL*", "FI_*", "PMI*")


def _words(job: Job) -> list[str]:
    words = ["podman-hpc", "run", "--rm", "--network=host", "--ipc=host"]
    if job.profile.platform == "gpu":
        words += ["--gpu", "--nccl"]
    names = [*_VARIABLES, *(n for n in job.variables if not _is_covered(n))]
    words += [f"--env='{name}'" for name in names]
    words += ['--volume="$PWD:$PWD"', '--workdir="$PWD"']
    words += [f"--volume={expanding(_both(bind))}" for bind in job.binds]
    return [*words, '"$JAX_IMAGE"']


def _both(bind: str) -> str:
    """podman wants the place in the container also where it is the same."""
    return bind if ":" in bind else f"{bind}:{bind}"


def _is_covered(name: str) -> bool:
    return name.startswith(tuple(v.rstrip("*") for v in _VARIABLES))


RUNTIME = Runtime(
    name="podman-hpc",
    needs=(NEEDS_IMAGE, "export JAX_SIF_RUNTIME=podman-hpc"),
    shows=SHOWS_IMAGE,
    srun_words=lambda job: [],
    words=_words,
)
