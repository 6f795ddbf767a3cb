"""Lets pairs of nodes exchange data, all at the same time and round by round, until the slow node is found; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import argparse

from jaxsif import initialize_distributed
from jaxsif.rank import narrate

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--full", action="store_true", help="every node with every other")
parser.add_argument("--size-bytes", type=int, help="per device, 64 MiB on GPUs")
parser.add_argument("--trials", type=int, default=5, help="for each pair and size")
chosen = parser.parse_args()

with narrate() as tell:
    initialize_distributed()
    # Not before: what would keep JAX from its import is told by the line above.
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    from jaxsif.rank import pairs

    tell.devices()

    # First right, then fast: a sum over all devices, and whose ones they were.
    mesh = Mesh(np.array(jax.devices()), ("i",))
    x = jax.make_array_from_process_local_data(
        NamedSharding(mesh, P("i")), np.ones(jax.local_device_count(), np.float32)
    )
    all_reduce = jax.jit(
        jax.shard_map(
            lambda x: jax.lax.psum(x, "i"), mesh=mesh, in_specs=P("i"), out_specs=P("i")
        )
    )
    tell.enters("allreduce")
    tell.all_reduced(all_reduce(x))
    tell.prove_identity()

    loads = pairs.loads_for(jax.default_backend(), chosen.size_bytes, chosen.trials)
    pairs.search(tell, loads, is_full=chosen.full)
