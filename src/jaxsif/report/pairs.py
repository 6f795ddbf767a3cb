"""Bandwidth between pairs of nodes, out of every rank's times; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from statistics import median

from jaxsif.pairs.locate import locate_slow_elements
from jaxsif.pairs.model import (
    BANDWIDTH,
    PairSample,
    PairTiming,
    as_pair,
    merge_rank_times,
)
from jaxsif.report.document import Rank, Verdict
from jaxsif.report.measured import Pair, told

# A heat map of more nodes than this shows groups of neighbours.
MOST_CELLS = 128

Told = tuple[Rank, Pair]


@dataclass(frozen=True)
class NodePair:
    """Two nodes, at the largest size that their devices exchanged.

    `gb_per_s` is from one node to the other, and as much back at the same time; None
    when no exchange came to its end. `ranks` are those that were slowest.
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
    found = [(r, p) for r, p in told(verdict, "pair", Pair) if r.node != p.partner_node]
    nodes = _ordered(found, verdict)
    place = {node: i for i, node in enumerate(nodes)}
    groups: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for rank, pair in found:
        first, second = sorted((rank.node, pair.partner_node), key=place.__getitem__)
        groups[first, second].append((rank, pair))
    devices = verdict.topology.devices // verdict.topology.nodes
    pairs = [_node_pair(names, results, devices) for names, results in groups.items()]
    middle = _middle_gb_per_s(pairs, place)
    rated = [replace(p, of_median=_part(p.gb_per_s, middle)) for p in pairs]
    return NodePairs(nodes, tuple(sorted(rated, key=_slowness)), middle)


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


def _middle_gb_per_s(
    pairs: Iterable[NodePair], place: Mapping[str, int]
) -> float | None:
    """The bandwidth of a pair when all is well, as the judge finds it."""
    speeds = {
        as_pair(*(place[node] for node in pair.nodes)): pair.gb_per_s for pair in pairs
    }
    # A speed's inverse stands for its time: all pairs exchanged the same.
    outcomes = [PairTiming(p, 1 / s if s else None) for p, s in speeds.items()]
    median_inverse = locate_slow_elements(
        outcomes, [""] * len(place), BANDWIDTH
    ).median_us
    return 1 / median_inverse if median_inverse else None


def _part(speed: float | None, middle: float | None) -> float | None:
    return speed / middle if speed is not None and middle else None


def _node_pair(nodes: tuple[str, str], results: list[Told], devices: int) -> NodePair:
    """`devices` are those of a node, which exchange at the same time."""
    size_bytes = max(pair.size_bytes for _, pair in results)
    largest = [(r, p) for r, p in results if p.size_bytes == size_bytes]
    rank, pair = max(largest, key=lambda result: median(result[1].times_us or (inf,)))
    time_us = _time_us(largest)
    speed = size_bytes * devices / time_us / 1e3 if time_us else None
    return NodePair(
        nodes=nodes,
        gb_per_s=speed,
        of_median=None,
        size_bytes=size_bytes,
        trials=sum(len(p.times_us) for _, p in largest),
        wrong=sum(p.wrong for _, p in results),
        timed_out=any(p.timed_out for _, p in results),
        ranks=(rank.rank, pair.partner),
    )


def _time_us(results: Iterable[Told]) -> float | None:
    """Of an exchange, the median of the trials and of the rounds."""
    samples: dict[int, list[PairSample]] = defaultdict(list)
    for rank, pair in results:
        times_us = () if pair.timed_out else pair.times_us
        samples[pair.round].append((rank.rank, pair.partner, times_us))
    trials = map(merge_rank_times, samples.values())
    times = [median(of_round) for of_round in trials if of_round]
    return median(times) if times else None


def _ordered(found: Iterable[Told], verdict: Verdict) -> tuple[str, ...]:
    """By switch where Slurm tells it, then in the order of their ranks."""
    switches: dict[str, str] = {}
    nodes: set[str] = set()
    for rank, pair in found:
        switches[rank.node] = pair.place or ""
        nodes |= {rank.node, pair.partner_node}
    first: dict[str, int] = {}
    for rank in verdict.ranks:
        first.setdefault(rank.node, rank.rank)
    last = len(verdict.ranks)
    return tuple(
        sorted(nodes, key=lambda n: (switches.get(n, ""), first.get(n, last), n))
    )
