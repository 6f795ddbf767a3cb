"""Multiplies matrices on every device for a second, and reports how many; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import time

from jaxsif import initialize_distributed, report_speed

initialize_distributed()
import jax  # noqa: E402  (after the group is there)
import jax.numpy as jnp  # noqa: E402  (as above)

multiply = jax.jit(lambda x: x @ x)
x = multiply(jnp.eye(256)).block_until_ready()
began_s, count = time.monotonic(), 0
while time.monotonic() - began_s < 1:
    x = multiply(x).block_until_ready()
    count += 1
report_speed(count * jax.process_count(), time.monotonic() - began_s, "products")
