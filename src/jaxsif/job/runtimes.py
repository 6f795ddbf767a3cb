"""How each container runtime starts a program in the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxsif.core.paths import ENTRY, PACKAGES_DIR, PACKAGES_VARIABLE
from jaxsif.job.quoting import quote_expandable
from jaxsif.job.request import Job

_NEEDS_IMAGE = (
    ': "${JAX_IMAGE:?is not set; load the module before you submit:'
    ' module load jax-sif}"'
)
# podman passes only these variables of the host.
_PODMAN_VARIABLES = ("SLURM*", "CUDA*", "JAX*", "XLA*", "NCCL*", "FI_*", "PMI*")


def _no_args(job: Job) -> list[str]:
    return []


@dataclass(frozen=True)
class Runtime:
    """The differences between runtimes; arguments are quoted for the shell.

    `prologue` are lines of the script that check or set what the runtime needs,
    `version_command` is shown in the job's first line, `srun_args` are options of srun,
    `container_args` come before the program.
    """

    container_args: Callable[[Job], list[str]]
    srun_args: Callable[[Job], list[str]] = _no_args
    prologue: tuple[str, ...] = (_NEEDS_IMAGE,)
    version_command: str = "image $JAX_IMAGE"


def _apptainer(job: Job) -> list[str]:
    args = ["singularity", "run"]
    if job.profile.platform == "gpu":
        args.append("--nv")
    if job.binds:
        args += ["--bind", '"$JAX_SIF_BIND"']
    if job.profile.packages:
        args += ["--bind", f'"${PACKAGES_VARIABLE}:{PACKAGES_DIR}:image-src=/,ro"']
    return [*args, '"$JAX_IMAGE"']


def _pyxis_srun(job: Job) -> list[str]:
    # Pyxis mounts nothing by default; the program is in the working directory.
    mounts = '"$PWD:$PWD,$JAX_SIF_BIND"' if job.binds else '"$PWD:$PWD"'
    return [
        '--container-image="$JAX_IMAGE"',
        f"--container-mounts={mounts}",
        '--container-workdir="$PWD"',
    ]


def _podman_hpc(job: Job) -> list[str]:
    args = ["podman-hpc", "run", "--rm", "--network=host", "--ipc=host"]
    if job.profile.platform == "gpu":
        args += ["--gpu", "--nccl"]
    passed = tuple(pattern.rstrip("*") for pattern in _PODMAN_VARIABLES)
    others = [name for name in job.variables if not name.startswith(passed)]
    args += [f"--env='{name}'" for name in (*_PODMAN_VARIABLES, *others)]
    args += ['--volume="$PWD:$PWD"', '--workdir="$PWD"']
    for bind in job.binds:
        # podman needs the target even if it is the same as the source.
        both = bind if ":" in bind else f"{bind}:{bind}"
        args.append(f"--volume={quote_expandable(both)}")
    return [*args, '"$JAX_IMAGE"']


# By the names of schema.RuntimeName. Apptainer and podman-hpc run the image's entry
# point, Pyxis does not. `jax-sif run` is the entry point of a Python environment.
RUNTIMES = {
    "apptainer": Runtime(_apptainer),
    "pyxis": Runtime(
        lambda job: [ENTRY],
        _pyxis_srun,
        prologue=(_NEEDS_IMAGE, "export JAX_SIF_RUNTIME=pyxis"),
    ),
    "podman-hpc": Runtime(
        _podman_hpc, prologue=(_NEEDS_IMAGE, "export JAX_SIF_RUNTIME=podman-hpc")
    ),
    "bare": Runtime(
        lambda job: ["jax-sif", "run"],
        prologue=(),
        version_command="no image, $(command -v python)",
    ),
}
