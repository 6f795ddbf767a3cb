"""No container: JAX and jax-sif of a Python environment that is active; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.job.runtimes import Runtime

RUNTIME = Runtime(
    name="bare",
    needs=(),
    shows="no image, $(command -v python)",
    srun_words=lambda job: [],
    # Starts the program as the image's entry would.
    words=lambda job: ["jax-sif", "run"],
)
