"""Pyxis and Enroot: srun itself starts the container; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.job.request import Job
from jaxsif.job.runtimes import ENTRY, NEEDS_IMAGE, SHOWS_IMAGE, Runtime


def _srun_words(job: Job) -> list[str]:
    # Pyxis mounts nothing by itself; the program lies below the working directory.
    mounts = '"$PWD:$PWD,$JAX_SIF_BIND"' if job.binds else '"$PWD:$PWD"'
    return [
        '--container-image="$JAX_IMAGE"',
        f"--container-mounts={mounts}",
        '--container-workdir="$PWD"',
    ]


RUNTIME = Runtime(
    name="pyxis",
    needs=(NEEDS_IMAGE, "export JAX_SIF_RUNTIME=pyxis"),
    shows=SHOWS_IMAGE,
    srun_words=_srun_words,
    # Pyxis passes over an image's entry point.
    words=lambda job: [ENTRY],
)
