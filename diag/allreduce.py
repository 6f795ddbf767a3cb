"""All-reduce of ones over all devices of the job, then of their identities."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif import initialize_distributed
from jaxsif.rank import phase_reporter

with phase_reporter() as reporter:
    initialize_distributed()
    # Import JAX only here: initialize_distributed() first reports anything that would
    # make the import fail.
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    print(
        f"Total devices: {jax.device_count()}  |  "
        f"Devices per task: {jax.local_device_count()}"
    )
    reporter.devices()

    # One array over all devices of all processes, a one on each.
    mesh = Mesh(np.array(jax.devices()), ("i",))
    x = jax.make_array_from_process_local_data(
        NamedSharding(mesh, P("i")), np.ones(jax.local_device_count(), np.float32)
    )
    all_reduce = jax.jit(
        jax.shard_map(
            lambda x: jax.lax.psum(x, "i"), mesh=mesh, in_specs=P("i"), out_specs=P("i")
        )
    )
    reporter.enters("allreduce")
    y = all_reduce(x)

    local = np.concatenate([shard.data for shard in y.addressable_shards])
    print(f"Process {jax.process_index()} has y={local}")
    reporter.report_allreduce(y)
    reporter.prove_identity()
    reporter.transport()
