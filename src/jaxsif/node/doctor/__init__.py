"""The checks of `jax-sif doctor`, each in a child process with a timeout."""
# SPDX-License-Identifier: Apache-2.0
