"""jax-sif: JAX on a GPU cluster from a container, with proof that it works."""
# SPDX-License-Identifier: Apache-2.0
