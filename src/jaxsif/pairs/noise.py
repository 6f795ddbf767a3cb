"""Pair times as speeds relative to healthy pairs, and the thresholds for slow ones."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jaxsif.pairs.model import DEVIATION, Bounds, Pair, PairTiming

# A pair and the logarithm of its speed.
Speed = tuple[Pair, float]

# Lower bound of the relative scatter.
_LEAST_SCATTER = 0.02
# If a larger share of the nodes is slow, the fault is not in single nodes.
_WIDESPREAD = 0.5
# Pairs needed to estimate the scatter, and the reference speed of their kind.
_MANY, _ENOUGH = 20, 8
# Half of a normal distribution is within an interval of this many standard deviations.
_OF_HALF = 1.349


@dataclass(frozen=True)
class NoiseModel:
    """Thresholds for relative speeds, as logarithms, of one measurement or a mean.

    The more times scatter, the wider the bounds: by chance alone, fewer than one node in
    a hundred runs is reported.
    """

    bounds: Bounds
    scatter: float
    nodes: int

    @property
    def passes(self) -> float:
        return math.log(self.bounds.passes)

    @property
    def fails(self) -> float:
        return math.log(self.bounds.fails)

    def limit(self, count: int = 1) -> float:
        """The mean of `count` measurements below which something is slow."""
        # The slowest of many healthy nodes is slower than that of few.
        sigmas = max(4.0, math.sqrt(2 * math.log(max(self.nodes, 2))) + 0.5)
        return min(self.passes, -sigmas * self.scatter / math.sqrt(count))

    def limit_of_rest(self, count: int) -> float:
        """The same without the slowest partner, for a node already below `limit`."""
        return min(self.passes, -3 * self.scatter / math.sqrt(count))

    def suspicion(self, count: int) -> float:
        """The mean below which another measurement is made."""
        return min(self.passes / 1.5, -2 * self.scatter / math.sqrt(count))

    @property
    def clearly_well(self) -> float:
        """The speed above which no other measurement is needed."""
        return min(self.passes / 3, -self.scatter / 2)


@dataclass(frozen=True)
class Speeds:
    """All measurements, relative to the median of the healthy ones."""

    values: tuple[Speed, ...]
    median_us: float
    scale: NoiseModel

    @property
    def is_widespread(self) -> bool:
        """Whether more than half of the nodes are slow with every partner."""
        best = _best_by_node(self.values)
        bound = min(self.scale.fails, -3 * self.scale.scatter)
        slow = [speed for speed in best.values() if speed < bound]
        return len(slow) > _WIDESPREAD * len(best)


def relative_speeds(
    outcomes: Sequence[PairTiming], places: Sequence[str], bounds: Bounds
) -> Speeds:
    """Compare pairs below one switch, and pairs across switches, with their own kind.

    `outcomes` must not be empty, and all must have a time.
    """
    kinds: dict[bool, list[Speed]] = {False: [], True: []}
    for o in outcomes:
        if o.time_us:
            is_across = places[o.pair[0]] != places[o.pair[1]]
            kinds[is_across].append((o.pair, -math.log(o.time_us)))
    both = [*kinds[False], *kinds[True]]
    noise = statistics.median(o.scatter for o in outcomes)
    # A bad node may be in most of a few pairs; the difference between two times of the
    # same pair is not affected by that.
    repeats = _by_repeats(both) if len(both) < _MANY else None
    if repeats is None:
        cut = _cut(bounds, max(noise, *map(_by_most, kinds.values())))
    else:
        cut = _cut(bounds, max(noise, repeats))
    usual = _usual(both, cut)
    usual_of = {
        kind: _usual(speeds, cut) if len(speeds) >= _ENOUGH else usual
        for kind, speeds in kinds.items()
    }
    values = tuple(
        (pair, speed - usual_of[kind])
        for kind, speeds in kinds.items()
        for pair, speed in speeds
    )
    scatter = _by_each_other(values, cut) if repeats is None else repeats
    nodes = {node for pair, _ in values for node in pair}
    more = len(kinds[True]) > len(kinds[False])
    scale = NoiseModel(bounds, max(noise, scatter, _LEAST_SCATTER), len(nodes))
    return Speeds(values, math.exp(-usual_of[more]), scale)


def by_pair(speeds: Iterable[Speed]) -> Mapping[Pair, list[float]]:
    """All speeds of each pair."""
    pairs: dict[Pair, list[float]] = defaultdict(list)
    for pair, speed in speeds:
        pairs[pair].append(speed)
    return pairs


def _usual(speeds: Sequence[Speed], cut: float) -> float:
    """The median of the healthy pairs.

    Not of all pairs: one slow node of four makes half of the pairs slow. Most nodes are
    fast in their best pair.
    """
    best = sorted(_best_by_node(speeds).values())
    usual = best[len(best) * 3 // 4]
    for _ in range(4):
        usual = statistics.median(v for _, v in speeds if v >= usual + cut)
    return usual


def _best_by_node(speeds: Iterable[Speed]) -> dict[int, float]:
    best: dict[int, float] = {}
    for pair, speed in speeds:
        for node in pair:
            if speed > best.get(node, -math.inf):
                best[node] = speed
    return best


def _cut(bounds: Bounds, noise: float) -> float:
    """How much slower than the reference a pair may be and still count for it.

    Between the two bounds, so that few failing pairs are included; lower if times
    scatter, because otherwise only the fastest pairs would count.
    """
    middle = (math.log(bounds.fails) + math.log(bounds.passes)) / 2
    return min(middle, -2 * noise)


def _by_most(speeds: Sequence[Speed]) -> float:
    """The scatter of the half of the pairs that are most alike.

    0 for up to four nodes, since one slow node of four is in half of the pairs.
    """
    if len({node for pair, _ in speeds for node in pair}) <= 4:
        return 0.0
    values = sorted(speed for _, speed in speeds)
    half = len(values) // 2
    shortest = min(b - a for a, b in zip(values, values[half:], strict=False))
    return _widened(shortest / _OF_HALF, len(values))


def _by_each_other(speeds: Iterable[Speed], cut: float) -> float:
    """The scatter of the healthy pairs."""
    deviations = [abs(speed) for _, speed in speeds if speed >= cut]
    return _widened(DEVIATION * statistics.median(deviations), len(deviations))


def _by_repeats(speeds: Sequence[Speed]) -> float | None:
    """The scatter by repeated measurements of pairs; None with fewer than three."""
    twice = [values for values in by_pair(speeds).values() if len(values) > 1]
    if len(twice) < 3:
        return None
    squares = [(values[0] - values[1]) ** 2 / 2 for values in twice]
    return _widened(math.sqrt(statistics.fmean(squares)), len(squares))


def _widened(scatter: float, count: int) -> float:
    """Correct for small samples, which may be alike by chance."""
    return scatter * (1 + 5 / count)
