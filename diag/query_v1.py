"""Shows the devices that each process has when every process has one GPU; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import jax

from jaxsif.rank import narrate, wait_for_coordinator

with narrate() as tell:
    wait_for_coordinator()
    jax.distributed.initialize()
    tell.connected()

    print(f"# Local devices: [ {jax.local_device_count()} ], {jax.local_devices()}")
    print(f"# Global devices:[ {jax.device_count()} ], {jax.devices()}")
    tell.devices()
    tell.prove_identity()
