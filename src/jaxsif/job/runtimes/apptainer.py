"""Apptainer and Singularity: `singularity run`, which runs the image's entry."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.core.paths import PACKAGES_DIR, PACKAGES_VARIABLE
from jaxsif.job.request import Job
from jaxsif.job.runtimes import NEEDS_IMAGE, SHOWS_IMAGE, Runtime


def _container_args(job: Job) -> list[str]:
    args = ["singularity", "run"]
    if job.profile.platform == "gpu":
        args.append("--nv")
    if job.binds:
        args += ["--bind", '"$JAX_SIF_BIND"']
    if job.profile.packages:
        args += ["--bind", f'"${PACKAGES_VARIABLE}:{PACKAGES_DIR}:image-src=/,ro"']
    return [*args, '"$JAX_IMAGE"']


RUNTIME = Runtime(
    name="apptainer",
    prologue=(NEEDS_IMAGE,),
    version_command=SHOWS_IMAGE,
    srun_args=lambda job: [],
    container_args=_container_args,
)
