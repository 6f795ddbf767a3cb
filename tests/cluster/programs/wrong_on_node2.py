"""The all-reduce of the image, on whose second node one device computes wrongly; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import runpy

if (os.environ["SLURMD_NODENAME"], os.environ["SLURM_LOCALID"]) == ("node2", "1"):
    from jaxsif.rank import reporter

    def spoil(_, point):
        """All that this rank contributes is twice what it should be."""
        if point == "after connected":
            import jax

            right = jax.make_array_from_process_local_data
            jax.make_array_from_process_local_data = lambda sharding, data: right(
                sharding, 2 * data
            )

    reporter.fault_hook = spoil
runpy.run_path("/opt/jax-sif/diag/allreduce.py", run_name="__main__")
