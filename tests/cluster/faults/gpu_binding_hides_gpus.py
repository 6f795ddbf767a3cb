"""A GPU binding gives all tasks of a node the same GPU."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    kind="device-shared",
    ranks=range(4),
    says=("node1/gpu2",),
    environment={"SLURM_GPU_BIND": "map_gpu:2,2,2,2"},
    has_baseline=False,
)
