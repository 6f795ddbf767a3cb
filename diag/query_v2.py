"""Prints the devices of each process, for several GPUs per process."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif import initialize_distributed
from jaxsif.rank import phase_reporter

with phase_reporter() as reporter:
    # Under Slurm JAX uses one GPU per process unless it gets their ids, here those that
    # the image's entry found. Not range(SLURM_GPUS_PER_NODE): that is wrong with two
    # such processes on a node, and not a number if the job requested a100:2.
    initialize_distributed()
    # Import JAX only here: initialize_distributed() first reports anything that would
    # make the import fail.
    import jax

    print(f"# Local devices: [ {jax.local_device_count()} ], {jax.local_devices()}")
    print(f"# Global devices:[ {jax.device_count()} ], {jax.devices()}")
    reporter.devices()
    reporter.prove_identity()
