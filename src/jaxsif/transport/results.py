"""The transports of the nodes, from the ranks' records."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.core.history import Histories, RankHistory
from jaxsif.core.records import Record

UNKNOWN = "unknown"

# Limits the length of a line.
_MAX_NAMED = 4


@dataclass(frozen=True)
class Told:
    """The transport of one node, reported by one of its ranks."""

    history: RankHistory
    record: Record

    @property
    def kind(self) -> str:
        return str(self.record.get("kind"))

    @property
    def words(self) -> str:
        return str(self.record.get("words"))

    @property
    def is_known(self) -> bool:
        return self.kind != UNKNOWN

    @property
    def why(self) -> list[str]:
        """The library's reasons for not using a faster network."""
        reasons = self.record.get("why")
        return list(map(str, reasons)) if isinstance(reasons, list) else []

    @property
    def declared(self) -> str:
        """The network that the site declares."""
        return str(self.history.fact("started", "network"))


def told(histories: Histories) -> list[Told]:
    """The last record of each node, in the order of ranks."""
    found: dict[str, Told] = {}
    for history in histories.values():
        for record in history.measured:
            if record["phase"] == "transport":
                found[history.node] = Told(history, record)
    return list(found.values())


def summary(histories: Histories) -> str | None:
    """`transport: NVLink, InfiniBand x8, GPUDirect`; None if nodes differ or have none."""
    words = {each.words for each in told(histories)}
    return f"transport: {words.pop()}" if len(words) == 1 else None


def nodes(those: Sequence[Told]) -> str:
    """`node1`, `node1, node2`, `node1, node2, node3, node4 and 12 more nodes`."""
    names = [each.history.node for each in those]
    more = len(names) - _MAX_NAMED
    tail = f" and {more} more node{'s' if more > 1 else ''}" if more > 0 else ""
    return ", ".join(names[:_MAX_NAMED]) + tail
