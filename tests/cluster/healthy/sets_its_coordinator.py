"""Sets JAX's own variables for the coordinator, before it joins; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os

port = 41000 + int(os.environ["SLURM_JOB_ID"]) % 1000
os.environ["JAX_COORDINATOR_ADDRESS"] = f"node1:{port}"
os.environ["JAX_COORDINATOR_PORT"] = str(port)

from _group import add_up, end_well, join  # noqa: E402  (reads the variables)

join()
add_up()
end_well()
