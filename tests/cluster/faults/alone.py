"""The fault of the matrix done to JAX alone: a program as in any tutorial, which knows nothing of the kit; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import importlib
import os

from fault import ACTIONS, mark

mark("start")
module = importlib.import_module(os.environ["FAULT"])
if hasattr(module, "in_rank"):
    module.in_rank(int(os.environ.get("SLURM_PROCID", "0")))


def reach(point):
    ACTIONS.get(point, lambda: None)()


import jax  # noqa: E402  (as a program would, after what the fault has done)
import jax.numpy as jnp  # noqa: E402  (as above)

jax.distributed.initialize()
reach("after connected")
print(f"Total devices: {jax.device_count()}", flush=True)
reach("before allreduce")
ones = jnp.ones(jax.local_device_count())
y = jax.pmap(lambda x: jax.lax.psum(x, "i"), axis_name="i")(ones)
print(f"Process {jax.process_index()} has y={y}", flush=True)
reach("before identity")
