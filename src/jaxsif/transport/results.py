"""The transports of the nodes, from the ranks' records."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.core.history import Histories, RankHistory
from jaxsif.core.records import TransportRecord
from jaxsif.core.text import MAX_NODES_IN_LINE, listed

UNKNOWN = "unknown"


@dataclass(frozen=True)
class NodeTransport:
    """The transport of one node, reported by one of its ranks."""

    history: RankHistory
    record: TransportRecord

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def text(self) -> str:
        return self.record.summary

    @property
    def is_known(self) -> bool:
        return self.kind != UNKNOWN

    @property
    def reasons(self) -> list[str]:
        """The library's reasons for not using a faster network."""
        return self.record.reasons

    @property
    def expected_network(self) -> str | None:
        """The network that the site declares."""
        return self.history.started.network if self.history.started else None


def node_transports(histories: Histories) -> list[NodeTransport]:
    """The last record of each node, in the order of ranks."""
    found: dict[str, NodeTransport] = {}
    for history in histories.values():
        for record in history.measured(TransportRecord):
            found[history.node] = NodeTransport(history, record)
    return list(found.values())


def summary(histories: Histories) -> str | None:
    """`transport: NVLink, InfiniBand x8, GPUDirect`; None if nodes differ or have none."""
    texts = {transport.text for transport in node_transports(histories)}
    return f"transport: {texts.pop()}" if len(texts) == 1 else None


def node_names(transports: Sequence[NodeTransport]) -> str:
    """`node1`, `node1, node2`, `node1, node2, node3, node4 and 12 more nodes`."""
    names = (transport.history.node for transport in transports)
    return listed(names, MAX_NODES_IN_LINE, "node")
