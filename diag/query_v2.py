"""Shows the devices that each process has when it has several GPUs; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import jax

from jaxsif.rank import local_device_ids, narrate, wait_for_coordinator

with narrate() as tell:
    wait_for_coordinator()
    # Under Slurm JAX takes one GPU per process unless it is told which are its own. Not
    # range(SLURM_GPUS_PER_NODE): that is wrong with two such processes on a node, and
    # no number at all when the job asked for a100:2.
    jax.distributed.initialize(local_device_ids=local_device_ids())
    tell.connected()

    print(f"# Local devices: [ {jax.local_device_count()} ], {jax.local_devices()}")
    print(f"# Global devices:[ {jax.device_count()} ], {jax.devices()}")
    tell.devices()
    tell.prove_identity()
