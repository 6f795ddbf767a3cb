"""Shows the devices that each process has when every process has one GPU; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif import initialize_distributed
from jaxsif.rank import phase_reporter

with phase_reporter() as reporter:
    initialize_distributed()
    # Not before: what would keep JAX from its import is told by the line above.
    import jax

    print(f"# Local devices: [ {jax.local_device_count()} ], {jax.local_devices()}")
    print(f"# Global devices:[ {jax.device_count()} ], {jax.devices()}")
    reporter.devices()
    reporter.prove_identity()
