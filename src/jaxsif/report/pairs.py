"""The map of pairs of nodes, from the verdict's figures; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

from jaxsif.core.verdict_file import NodePair, NodePairs

# A heat map of more nodes than this shows groups of neighbours.
MOST_CELLS = 128


@dataclass(frozen=True)
class Cells:
    """A square map of nodes, or of groups of neighbours: the slowest pair of each cell."""

    groups: tuple[tuple[str, ...], ...]
    slowest: tuple[tuple[NodePair | None, ...], ...]

    @property
    def nodes_per_cell(self) -> int:
        return max(map(len, self.groups), default=1)


def cells(found: NodePairs, most: int = MOST_CELLS) -> Cells:
    """The map of at most `most` rows; a cell of several nodes shows its slowest pair."""
    nodes = [node.node for node in found.nodes]
    width = -(-len(nodes) // most) if nodes else 1
    place = {node: i // width for i, node in enumerate(nodes)}
    count = -(-len(nodes) // width)
    rows: list[list[NodePair | None]] = [[None] * count for _ in range(count)]
    # The slowest come first, and the first of a cell stays.
    for pair in found.pairs:
        a, b = (place[node] for node in pair.nodes)
        if rows[a][b] is None:
            rows[a][b] = rows[b][a] = pair
    groups = [tuple(nodes[i * width : (i + 1) * width]) for i in range(count)]
    return Cells(tuple(groups), tuple(tuple(row) for row in rows))
