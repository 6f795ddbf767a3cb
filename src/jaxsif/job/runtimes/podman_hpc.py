"""podman-hpc, as on Perlmutter, which runs the image's entry point."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.job.quoting import quote_expandable
from jaxsif.job.request import Job
from jaxsif.job.runtimes import NEEDS_IMAGE, SHOWS_IMAGE, Runtime

# podman passes only these variables of the host.
_VARIABLES = ("SLURM*", "CUDA*", "JAX*", "XLA*", "NCCL*", "FI_*", "PMI*")


def _container_args(job: Job) -> list[str]:
    args = ["podman-hpc", "run", "--rm", "--network=host", "--ipc=host"]
    if job.profile.platform == "gpu":
        args += ["--gpu", "--nccl"]
    names = [*_VARIABLES, *(n for n in job.variables if not _is_covered(n))]
    args += [f"--env='{name}'" for name in names]
    args += ['--volume="$PWD:$PWD"', '--workdir="$PWD"']
    args += [f"--volume={quote_expandable(_both(bind))}" for bind in job.binds]
    return [*args, '"$JAX_IMAGE"']


def _both(bind: str) -> str:
    """podman needs the target even if it is the same as the source."""
    return bind if ":" in bind else f"{bind}:{bind}"


def _is_covered(name: str) -> bool:
    return name.startswith(tuple(v.rstrip("*") for v in _VARIABLES))


RUNTIME = Runtime(
    name="podman-hpc",
    prologue=(NEEDS_IMAGE, "export JAX_SIF_RUNTIME=podman-hpc"),
    version_command=SHOWS_IMAGE,
    srun_args=lambda job: [],
    container_args=_container_args,
)
