"""Pyxis and Enroot: srun starts the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.core.paths import ENTRY
from jaxsif.job.request import Job
from jaxsif.job.runtimes import NEEDS_IMAGE, SHOWS_IMAGE, Runtime


def _srun_args(job: Job) -> list[str]:
    # Pyxis mounts nothing by default; the program is in the working directory.
    mounts = '"$PWD:$PWD,$JAX_SIF_BIND"' if job.binds else '"$PWD:$PWD"'
    return [
        '--container-image="$JAX_IMAGE"',
        f"--container-mounts={mounts}",
        '--container-workdir="$PWD"',
    ]


RUNTIME = Runtime(
    name="pyxis",
    prologue=(NEEDS_IMAGE, "export JAX_SIF_RUNTIME=pyxis"),
    version_command=SHOWS_IMAGE,
    srun_args=_srun_args,
    # Pyxis does not run an image's entry point.
    container_args=lambda job: [ENTRY],
)
