"""Apptainer and Singularity: `singularity run`, which passes through the image's entry; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.core.packages import PACKAGES_FOLDER, PACKAGES_VARIABLE
from jaxsif.job.request import Job
from jaxsif.job.runtimes import NEEDS_IMAGE, SHOWS_IMAGE, Runtime


def _words(job: Job) -> list[str]:
    words = ["singularity", "run"]
    if job.profile.platform == "gpu":
        words.append("--nv")
    if job.binds:
        words += ["--bind", '"$JAX_SIF_BIND"']
    if job.profile.packages:
        words += ["--bind", f'"${PACKAGES_VARIABLE}:{PACKAGES_FOLDER}:image-src=/,ro"']
    return [*words, '"$JAX_IMAGE"']


RUNTIME = Runtime(
    name="apptainer",
    needs=(NEEDS_IMAGE,),
    shows=SHOWS_IMAGE,
    srun_words=lambda job: [],
    words=_words,
)
