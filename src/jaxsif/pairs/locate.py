"""Locates the slow node, link or switch from the times of pairs of nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import heapq
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from jaxsif.pairs.model import (
    BANDWIDTH,
    LINK,
    NODE,
    Bounds,
    Pair,
    PairTiming,
    SearchResult,
    SlowElement,
)
from jaxsif.pairs.noise import NoiseModel, Speed, by_pair, relative_speeds
from jaxsif.pairs.switches import SwitchPaths

# Maximum number of measurements per pair.
_MOST_REPEATS = 5


def look(
    outcomes: Sequence[PairTiming], places: Sequence[str], bounds: Bounds = BANDWIDTH
) -> SearchResult:
    """Rate the pairs of all rounds so far, relative to the healthy ones.

    A pair is as slow as its slower node, so both nodes of a slow pair are suspects until
    one of them is fast with another partner. Pairs that a slow switch explains do not
    count against their nodes, nor pairs of a slow node against the partner.

    Args:
      places: the switch of each node, by the node's index; "" if unknown.
    """
    silent = tuple(sorted({o.pair for o in outcomes if o.time_us is None}))
    timed = [o for o in outcomes if o.time_us]
    if not timed:
        return SearchResult(silent=silent)
    speeds = relative_speeds(timed, places, bounds)
    scale = speeds.scale
    if speeds.is_widespread:
        return SearchResult((), speeds.median_us, scale.scatter, True, silent)
    ways = SwitchPaths(speeds.values, places, scale)
    of_ways = tuple(ways.blames())
    nodes = _Nodes([s for s in speeds.values if s[0] not in ways.explained], scale)
    of_nodes = tuple(nodes.blames())
    links = nodes.links()
    unfit = {node for pair in silent for node in pair}
    suspects = nodes.suspects(unfit)
    return SearchResult(
        blames=(*of_ways, *of_nodes, *links.blames),
        median_us=speeds.median_us,
        scatter=scale.scatter,
        silent=silent,
        undecided=links.undecided,
        suspects=suspects,
        doubtful_links=links.doubtful,
        good=_good(speeds.values, unfit.union(suspects), ways, places),
        probes=tuple(ways.probes),
    )


def _good(
    speeds: Iterable[Speed],
    others: AbstractSet[int],
    ways: SwitchPaths,
    places: Sequence[str],
) -> tuple[int, ...]:
    """The partners for retests: measured, not among `others`, below no doubtful switch."""
    known = {node for pair, _ in speeds for node in pair}
    return tuple(
        node
        for node in sorted(known - others)
        if places[node] not in ways.doubtful_places
    )


@dataclass(frozen=True)
class _Links:
    """Pairs that are slow themselves, to be measured again, or slow without a cause."""

    blames: tuple[SlowElement, ...]
    doubtful: tuple[Pair, ...]
    undecided: tuple[Pair, ...]


# The speeds of one node, by partner.
_Tally = dict[int, list[float]]


class _Nodes:
    """The speeds of each node; pairs with a slow node do not count for its partners."""

    def __init__(self, speeds: Sequence[Speed], scale: NoiseModel) -> None:
        self._speeds = by_pair(speeds)
        self._scale = scale
        self._tallies: dict[int, _Tally] = defaultdict(dict)
        for (first, second), values in self._speeds.items():
            self._tallies[first][second] = values
            self._tallies[second][first] = values
        self._accused: set[int] = set()

    def blames(self) -> Iterator[SlowElement]:
        """Nodes that are slow with every partner, the slowest first."""
        queue = [(_mean(tally), node) for node, tally in self._tallies.items()]
        heapq.heapify(queue)
        while queue and queue[0][0] < self._scale.suspicion(1):
            mean, node = heapq.heappop(queue)
            tally = self._tallies[node]
            is_old = node in self._accused or mean != _mean(tally)
            if is_old or not self._is_slow(tally):
                continue
            self._accused.add(node)
            yield _blame(NODE, (node,), mean, self._scale, tuple(sorted(tally)))
            for partner in tally:
                others = self._tallies[partner]
                others.pop(node, None)
                heapq.heappush(queue, (_mean(others), partner))

    def _is_slow(self, tally: _Tally) -> bool:
        """Slow on average, without its slowest partner, and even with its fastest."""
        if len(tally) < 2:
            return False
        rest, scale = _without_worst(tally), self._scale
        return (
            _mean(tally) < scale.limit(_count(tally))
            and _mean(rest) < scale.limit_of_rest(_count(rest))
            and max(_means(tally)) < scale.passes / 2
        )

    def links(self) -> _Links:
        """Pairs that are slow although both nodes are fast with others."""
        blames, doubtful, undecided = [], [], []
        for pair, speeds in self._speeds.items():
            mean, count = statistics.fmean(speeds), len(speeds)
            if mean >= self._scale.suspicion(count):
                continue
            if not self._accused.isdisjoint(pair):
                continue
            first, second = pair
            is_link = self._is_well(first, second, mean) and self._is_well(
                second, first, mean
            )
            is_clear = mean < self._scale.limit(count)
            # Slow every time, so that a single very long time does not count as two.
            is_again = count > 1 and max(speeds) < self._scale.passes / 2
            if is_link and is_clear and is_again:
                blames.append(_blame(LINK, pair, mean, self._scale))
                continue
            if is_link and count < _MOST_REPEATS:
                doubtful.append(pair)
            if is_clear:
                undecided.append(pair)
        blames.sort(key=lambda blame: blame.speed)
        return _Links(tuple(blames), tuple(sorted(doubtful)), tuple(sorted(undecided)))

    def _is_well(self, node: int, partner: int, mean: float) -> bool:
        """Whether a node is healthy with others, or at most half as slow as here."""
        rest = {p: v for p, v in self._tallies[node].items() if p != partner}
        if not rest:
            return False
        bound = min(self._scale.suspicion(_count(rest)), mean / 2)
        return statistics.median(_means(rest)) >= bound

    def suspects(self, unfit: AbstractSet[int]) -> tuple[int, ...]:
        """The nodes to measure again, slow ones included, the slowest first."""
        means = {
            node: _mean(tally)
            for node, tally in self._tallies.items()
            if node not in unfit and (node in self._accused or self._is_suspect(tally))
        }
        return tuple(sorted(means, key=lambda node: (means[node], node)))

    def _is_suspect(self, tally: _Tally) -> bool:
        """True as well for a node that met slow nodes only: its own speed is unknown."""
        if not tally:
            return True
        if _mean(tally) >= self._scale.suspicion(_count(tally)):
            return False
        # Another measurement costs little; a slow node taken for healthy is missed.
        rest = _without_worst(tally)
        return not rest or _mean(rest) < self._scale.clearly_well


def _count(tally: _Tally) -> int:
    return sum(map(len, tally.values()))


def _mean(tally: Mapping[int, Iterable[float]]) -> float:
    values = [v for of_one in tally.values() for v in of_one]
    return sum(values) / len(values) if values else 0.0


def _means(tally: _Tally) -> list[float]:
    return [statistics.fmean(values) for values in tally.values()]


def _without_worst(tally: _Tally) -> _Tally:
    worst = min(tally, key=lambda partner: statistics.fmean(tally[partner]))
    return {partner: v for partner, v in tally.items() if partner != worst}


def _blame(
    kind: str,
    who: tuple[int, ...],
    mean: float,
    scale: NoiseModel,
    partners: tuple[int, ...] = (),
) -> SlowElement:
    speed = math.exp(mean)
    is_failure = speed < scale.bounds.fails
    return SlowElement(kind, who, speed, partners, is_failure=is_failure)
