"""All ranks of a node take the same GPU."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    says=("ranks 0-3 on node1", "the same GPU node1/gpu0"),
    environment={"JAX_LOCAL_DEVICE_IDS": "0"},
    has_baseline=False,
)
