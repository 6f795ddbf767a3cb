"""Makes pages and files for other programs out of verdicts: reads what `jax-sif verify --json` wrote, never imports JAX; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0
