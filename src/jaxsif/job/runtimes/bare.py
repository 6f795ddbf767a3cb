"""No container: JAX and jax-sif of the active Python environment."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.job.runtimes import Runtime

RUNTIME = Runtime(
    name="bare",
    prologue=(),
    version_command="no image, $(command -v python)",
    srun_args=lambda job: [],
    # Starts the program in the same way as the image's entry.
    container_args=lambda job: ["jax-sif", "run"],
)
