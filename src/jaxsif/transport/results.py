"""What the nodes said of the network that they used; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.core.history import Stories, Story
from jaxsif.core.records import Record

UNKNOWN = "unknown"

# No line lists more nodes than a person reads.
_MOST_NAMED = 4


@dataclass(frozen=True)
class Told:
    """What one node told, by the rank that spoke for it."""

    story: Story
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
        """Why no faster network was taken, as far as the library said so."""
        reasons = self.record.get("why")
        return list(map(str, reasons)) if isinstance(reasons, list) else []

    @property
    def declared(self) -> str:
        """The network that the cluster has by its site's profile."""
        return str(self.story.fact("started", "network"))


def told(stories: Stories) -> list[Told]:
    """The last word of each node, in the order of ranks."""
    found: dict[str, Told] = {}
    for story in stories.values():
        for record in story.measured:
            if record["phase"] == "transport":
                found[story.node] = Told(story, record)
    return list(found.values())


def summary(stories: Stories) -> str | None:
    """`transport: NVLink, InfiniBand x8, GPUDirect`; None where nodes differ, or told
    nothing."""
    words = {each.words for each in told(stories)}
    return f"transport: {words.pop()}" if len(words) == 1 else None


def nodes(those: Sequence[Told]) -> str:
    """`node1`, `node1, node2`, `node1, node2, node3, node4 and 12 more nodes`."""
    names = [each.story.node for each in those]
    more = len(names) - _MOST_NAMED
    tail = f" and {more} more node{'s' if more > 1 else ''}" if more > 0 else ""
    return ", ".join(names[:_MOST_NAMED]) + tail
