"""Bandwidth between pairs of nodes, out of every rank's times; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from jaxsif.report.document import Rank, Verdict
from jaxsif.report.measured import Pair, told

# A heat map of more nodes than this shows groups of neighbours.
MOST_CELLS = 128


@dataclass(frozen=True)
class NodePair:
    """Two nodes, at the largest size that they exchanged.

    `gb_per_s` is that of their slowest pair of ranks, by the slower side; None when
    every exchange timed out.
    """

    nodes: tuple[str, str]
    gb_per_s: float | None
    # The part of the median pair's bandwidth that this one reaches.
    of_median: float | None
    size_bytes: int
    trials: int
    wrong: int
    timed_out: bool
    ranks: tuple[int, int]

    @property
    def name(self) -> str:
        return " and ".join(self.nodes)


@dataclass(frozen=True)
class NodePairs:
    """All pairs of a step, the slowest first; the nodes in the order of the map."""

    nodes: tuple[str, ...]
    pairs: tuple[NodePair, ...]
    median_gb_per_s: float | None

    def of_node(self, node: str) -> list[NodePair]:
        return [pair for pair in self.pairs if node in pair.nodes]


@dataclass(frozen=True)
class Cells:
    """A square map of nodes, or of groups of neighbours: the slowest pair of each cell."""

    groups: tuple[tuple[str, ...], ...]
    slowest: tuple[tuple[NodePair | None, ...], ...]

    @property
    def nodes_per_cell(self) -> int:
        return max(map(len, self.groups), default=1)


def node_pairs(verdict: Verdict) -> NodePairs:
    """What is known of every pair of nodes that was measured."""
    found = list(told(verdict, "pair", Pair))
    nodes = _ordered({n for r, p in found for n in (r.node, p.partner_node)}, verdict)
    place = {node: i for i, node in enumerate(nodes)}
    groups: dict[tuple[str, str], list[tuple[Rank, Pair]]] = defaultdict(list)
    for rank, pair in found:
        first, second = sorted((rank.node, pair.partner_node), key=place.__getitem__)
        groups[first, second].append((rank, pair))
    speeds = [_slowest(results)[0] for results in groups.values()]
    known = [speed for speed in speeds if speed is not None]
    middle = median(known) if known else None
    pairs = [_node_pair(names, results, middle) for names, results in groups.items()]
    return NodePairs(
        nodes=nodes,
        pairs=tuple(sorted(pairs, key=_slowness)),
        median_gb_per_s=middle,
    )


def cells(found: NodePairs, most: int = MOST_CELLS) -> Cells:
    """The map of at most `most` rows; a cell of several nodes shows its slowest pair."""
    width = -(-len(found.nodes) // most) if found.nodes else 1
    place = {node: i // width for i, node in enumerate(found.nodes)}
    count = -(-len(found.nodes) // width)
    rows: list[list[NodePair | None]] = [[None] * count for _ in range(count)]
    # The slowest come first, and the first of a cell stays.
    for pair in found.pairs:
        a, b = (place[node] for node in pair.nodes)
        if rows[a][b] is None:
            rows[a][b] = rows[b][a] = pair
    groups = [found.nodes[i * width : (i + 1) * width] for i in range(count)]
    return Cells(tuple(groups), tuple(tuple(row) for row in rows))


def _slowness(pair: NodePair) -> tuple[bool, float, tuple[str, str]]:
    return not pair.timed_out, pair.gb_per_s or 0.0, pair.nodes


def _node_pair(
    nodes: tuple[str, str], results: list[tuple[Rank, Pair]], middle: float | None
) -> NodePair:
    speed, rank, pair = _slowest(results)
    return NodePair(
        nodes=nodes,
        gb_per_s=speed,
        of_median=speed / middle if speed is not None and middle else None,
        size_bytes=pair.size_bytes,
        trials=sum(len(p.times_us) for _, p in results),
        wrong=sum(p.wrong for _, p in results),
        timed_out=any(p.timed_out for _, p in results),
        ranks=(rank.rank, pair.partner),
    )


def _slowest(results: Iterable[tuple[Rank, Pair]]) -> tuple[float | None, Rank, Pair]:
    """The slowest exchange of the largest size, in GB/s, with its rank."""
    results = list(results)
    size = max((p.size_bytes for _, p in results if p.times_us), default=None)
    timed = [(r, p) for r, p in results if p.times_us and p.size_bytes == size]
    if not timed:
        return None, *results[0]
    rank, pair = max(timed, key=lambda result: median(result[1].times_us))
    time_us = median(pair.times_us)
    return (pair.size_bytes / time_us / 1e3 if time_us > 0 else None), rank, pair


def _ordered(nodes: set[str], verdict: Verdict) -> tuple[str, ...]:
    """By switch where Slurm tells it, then in the order of their ranks."""
    place: dict[str, tuple[str, int]] = {}
    for rank in verdict.ranks:
        switch = str(rank.fact("started", "switch") or "")
        place.setdefault(rank.node, (switch, rank.rank))
    last = len(verdict.ranks)
    return tuple(sorted(nodes, key=lambda node: (place.get(node, ("", last)), node)))
