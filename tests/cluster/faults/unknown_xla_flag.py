"""XLA_FLAGS holds a flag that this jaxlib does not know."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    says=("on node1", "xla_gpu_no_such_flag"),
    environment={"XLA_FLAGS": "--xla_gpu_no_such_flag=1"},
)
