"""Shows the devices that each process has when it has several GPUs; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif import initialize_distributed
from jaxsif.rank import phase_reporter

with phase_reporter() as reporter:
    # Under Slurm JAX takes one GPU per process unless it is told which are its own, as it
    # is here: those that the image's entry found. Not range(SLURM_GPUS_PER_NODE): that is
    # wrong with two such processes on a node, and no number when the job asked for a100:2.
    initialize_distributed()
    # Not before: what would keep JAX from its import is told by the line above.
    import jax

    print(f"# Local devices: [ {jax.local_device_count()} ], {jax.local_devices()}")
    print(f"# Global devices:[ {jax.device_count()} ], {jax.devices()}")
    reporter.devices()
    reporter.prove_identity()
