"""Prints the devices of each process, for one GPU per process."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif import initialize_distributed
from jaxsif.rank import phase_reporter

with phase_reporter() as reporter:
    initialize_distributed()
    # Import JAX only here: initialize_distributed() first reports anything that would
    # make the import fail.
    import jax

    print(f"# Local devices: [ {jax.local_device_count()} ], {jax.local_devices()}")
    print(f"# Global devices:[ {jax.device_count()} ], {jax.devices()}")
    reporter.devices()
    reporter.prove_identity()
