"""XLA_FLAGS contains a flag that this jaxlib does not know."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    # On both nodes, but the first to say so ends the others.
    says=(" on node", "xla_gpu_no_such_flag"),
    environment={"XLA_FLAGS": "--xla_gpu_no_such_flag=1"},
)
