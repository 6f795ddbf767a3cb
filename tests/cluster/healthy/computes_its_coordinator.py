"""Computes the coordinator's address from Slurm's variables; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os

from _group import add_up, end_well, join

port = 40000 + int(os.environ["SLURM_JOB_ID"]) % 1000
join(
    coordinator_address=f"node1:{port}",
    num_processes=int(os.environ["SLURM_NTASKS"]),
    process_id=int(os.environ["SLURM_PROCID"]),
)
add_up()
end_well()
