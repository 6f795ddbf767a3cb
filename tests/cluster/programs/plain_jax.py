"""A program of any tutorial: initialise, sum one number per device, print; knows nothing of this kit."""
# SPDX-License-Identifier: Apache-2.0

import os

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

jax.distributed.initialize()
mesh = Mesh(np.array(jax.devices()), ("i",))
mine = np.full(jax.local_device_count(), float(os.environ["STEP_VALUE"]), np.float32)
x = jax.make_array_from_process_local_data(NamedSharding(mesh, P("i")), mine)
total = jax.jit(
    jax.shard_map(
        lambda x: jax.lax.psum(x, "i"), mesh=mesh, in_specs=P("i"), out_specs=P()
    )
)(x)
print(
    f"rank {jax.process_index()} of {jax.process_count()}: sum {total[0]:g}", flush=True
)
