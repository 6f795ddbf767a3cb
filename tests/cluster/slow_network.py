"""Makes the network of a node, or the link of two, slow or late, in the node's own namespace; runs on the machine that has the cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster import PROGRAMS, Cluster

NODES = ("node1", "node2", "node3", "node4")
# All links have it, so that the network is the narrow place and not this machine's
# processors, which are busy with other things too.
USUAL_MBIT = 800

# Anew each time; a class of its own for each node towards which it is slower.
_LIMIT = """
ip link del late0 2> /dev/null || true
tc qdisc del dev eth0 root 2> /dev/null || true
tc qdisc add dev eth0 root handle 1: htb default 10
add() { tc class add dev eth0 parent 1: classid "1:$1" htb rate "$2mbit" burst 64k cburst 64k; }
add 10 "$1"
shift
class=20
while [ $# -gt 0 ]; do
  add $class "$2"
  tc filter add dev eth0 parent 1: protocol ip u32 match ip dst "$1" flowid 1:$class
  class=$((class + 1))
  shift 2
done
"""


def limit(
    cluster: Cluster, node: str, mbit: int, towards: Mapping[str, int] | None = None
) -> None:
    """What a node sends, per second; less towards some nodes."""
    words = [str(mbit)]
    for other, slower_mbit in (towards or {}).items():
        words += [f"{_address(other)}/32", str(slower_mbit)]
    cluster.on(node, "sh", "-euc", _LIMIT, "sh", *words)


def delay(cluster: Cluster, node: str, towards: Sequence[str], delay_ms: float) -> None:
    """What a node sends to some others arrives later; `limit` ends that too."""
    program = PROGRAMS / "late_packets.py"
    addresses = [_address(other) for other in towards]
    cluster.on(node, "python3", program, str(delay_ms), *addresses)


def _address(node: str) -> str:
    return f"10.77.1.{NODES.index(node) + 1}"


def make_even(cluster: Cluster) -> None:
    """Every node as fast as the others, and at once."""
    for node in NODES:
        limit(cluster, node, USUAL_MBIT)


def make_node_slow(cluster: Cluster, node: str, speed: float) -> None:
    """One node, to a part of the usual speed."""
    limit(cluster, node, round(USUAL_MBIT * speed))


def make_link_slow(cluster: Cluster, ends: tuple[str, str], speed: float) -> None:
    """What two nodes send to each other, to a part of the usual speed."""
    for own, other in (ends, ends[::-1]):
        limit(cluster, own, USUAL_MBIT, {other: round(USUAL_MBIT * speed)})


def make_node_late(cluster: Cluster, node: str, delay_ms: float) -> None:
    """All that one node sends and gets, each way by so much."""
    others = [other for other in NODES if other != node]
    delay(cluster, node, others, delay_ms)
    for other in others:
        delay(cluster, other, [node], delay_ms)


def make_link_late(cluster: Cluster, ends: tuple[str, str], delay_ms: float) -> None:
    """What two nodes send to each other, each way by so much."""
    for own, other in (ends, ends[::-1]):
        delay(cluster, own, [other], delay_ms)
