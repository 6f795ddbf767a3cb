"""The network between the nodes delivers only small packets, as with a smaller MTU on one port."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(kind="large-packets-lost", ranks=range(4, 8), has_baseline=False)


@contextlib.contextmanager
def around(cluster):
    # Slurm's own daemons go on: only what the ranks send to each other is cut.
    rule = "ip saddr 10.77.1.0/24 tcp dport 12288-32767 meta length > 1000 drop"
    answers = "ip saddr 10.77.1.0/24 tcp sport 12288-32767 meta length > 1000 drop"
    for node in ("node1", "node2"):
        cluster.on(node, "nft", "add table inet fault")
        cluster.on(
            node,
            "nft",
            "add chain inet fault input { type filter hook input priority 0; }",
        )
        for each in (rule, answers):
            cluster.on(node, "nft", f"add rule inet fault input iif != lo {each}")
    try:
        yield {}
    finally:
        for node in ("node1", "node2"):
            cluster.on(node, "nft", "delete table inet fault")
