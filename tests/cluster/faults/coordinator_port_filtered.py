"""A firewall between the nodes drops packets to the coordinator's port."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

# The ports of the kit, and those that JAX chooses alone.
FAULT = Fault(kind="coordinator-packets-dropped", ranks=range(4, 8))


@contextlib.contextmanager
def around(cluster):
    rule = "ip saddr 10.77.1.2 tcp dport { 12288-32767, 61440-65535 } drop"
    cluster.on("node1", "nft", "add table inet fault")
    cluster.on(
        "node1",
        "nft",
        "add chain inet fault input { type filter hook input priority 0; }",
    )
    cluster.on("node1", "nft", f"add rule inet fault input {rule}")
    try:
        yield {}
    finally:
        cluster.on("node1", "nft", "delete table inet fault")
