"""A tutorial's all-reduce without verification, for comparison; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import jax
import jax.numpy as jnp

jax.distributed.initialize()
print(f"Total devices: {jax.device_count()}  |  per task: {jax.local_device_count()}")
x = jnp.ones(jax.local_device_count())
y = jax.pmap(lambda x: jax.lax.psum(x, "i"), axis_name="i")(x)
print(f"Process {jax.process_index()} has y={y}")
