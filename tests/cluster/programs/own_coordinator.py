"""As in JAX's tutorial of several processes: ADDRESS PROCESSES PROCESS are its own choice; knows nothing of this kit."""
# SPDX-License-Identifier: Apache-2.0

import sys

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

address, count, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
jax.distributed.initialize(address, count, number)
mesh = Mesh(np.array(jax.devices()), ("i",))
mine = np.full(jax.local_device_count(), 10.0**number, np.float32)
x = jax.make_array_from_process_local_data(NamedSharding(mesh, P("i")), mine)
total = jax.jit(
    jax.shard_map(
        lambda x: jax.lax.psum(x, "i"), mesh=mesh, in_specs=P("i"), out_specs=P()
    )
)(x)
print(f"process {number} of {jax.process_count()}: sum {total[0]:g}", flush=True)
