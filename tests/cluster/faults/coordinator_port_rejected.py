"""A firewall between the nodes rejects packets to the coordinator's port as unreachable."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

# The ports of the kit, and those that JAX chooses alone.
# The kernel sends only so many refusals a second: a rank that got none says "dropped".
FAULT = Fault(kind="coordinator-unreachable", ranks=range(4, 8))


@contextlib.contextmanager
def around(cluster):
    rule = "ip saddr 10.77.1.2 tcp dport { 12288-32767, 61440-65535 } reject with icmp type host-unreachable"
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
