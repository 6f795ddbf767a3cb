"""Traces and compiles a large function in the first rank, while the others wait; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import jax
import jax.numpy as jnp
from _group import RANK, add_up, end_well, join


@jax.jit
def large(x: jax.Array) -> jax.Array:
    for step in range(400):
        x = jnp.sin(x + step) @ jnp.cos(x.T)
    return x


join()
# Gloo's first meeting has a limit of its own, with JAX alone too.
add_up()
if RANK == 0:
    large(jnp.ones((4, 4))).block_until_ready()
add_up()
end_well()
