"""JAX runs on the CPU where GPUs were requested."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    says=("ranks 0-3 on node1, 4-7 on node2", "JAX runs on cpu, gpu was requested"),
    environment={"JAX_SIF_PLATFORM": "gpu"},
    has_baseline=False,
)
