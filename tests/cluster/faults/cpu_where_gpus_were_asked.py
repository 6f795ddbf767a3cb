"""JAX runs on the CPU where GPUs were requested."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    kind="platform",
    ranks=range(8),
    environment={"JAX_SIF_PLATFORM": "gpu"},
    has_baseline=False,
)
