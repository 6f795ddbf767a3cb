"""Pair times as speeds relative to healthy pairs, and the thresholds for slow ones."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jaxsif.pairs.model import MAD_TO_SIGMA, Pair, PairTiming, Speed, Thresholds

# Lower bound of the relative scatter.
_MIN_SCATTER = 0.02
# If a larger share of the nodes is slow, the fault is not in single nodes.
_CLUSTER_WIDE_SHARE = 0.5
# Pairs needed to estimate the scatter, and the reference speed of their kind.
_LARGE_SAMPLE, _MIN_OF_KIND = 20, 8
# Half of a normal distribution is within an interval of this many standard deviations.
_IQR_TO_SIGMA = 1.349


@dataclass(frozen=True)
class NoiseModel:
    """Thresholds for relative speeds, as logarithms, of one measurement or a mean.

    The more times scatter, the wider the thresholds: by chance alone, fewer
    than one node in a hundred runs is reported.
    """

    thresholds: Thresholds
    scatter: float
    nodes: int

    @property
    def log_warn_ratio(self) -> float:
        return math.log(self.thresholds.warn_below)

    @property
    def log_fail_ratio(self) -> float:
        return math.log(self.thresholds.fail_below)

    def slow_threshold(self, count: int = 1) -> float:
        """The mean of `count` measurements below which something is slow."""
        # The slowest of many healthy nodes is slower than that of few.
        sigmas = max(4.0, math.sqrt(2 * math.log(max(self.nodes, 2))) + 0.5)
        return min(self.log_warn_ratio, -sigmas * self.scatter / math.sqrt(count))

    def residual_threshold(self, count: int) -> float:
        """The same without the slowest partner, for a node below `slow_threshold`."""
        return min(self.log_warn_ratio, -3 * self.scatter / math.sqrt(count))

    def retest_threshold(self, count: int) -> float:
        """The mean below which another measurement is made."""
        return min(self.log_warn_ratio / 1.5, -2 * self.scatter / math.sqrt(count))

    @property
    def healthy_threshold(self) -> float:
        """The speed above which no other measurement is needed."""
        return min(self.log_warn_ratio / 3, -self.scatter / 2)


@dataclass(frozen=True)
class Speeds:
    """All measurements, relative to the median of the healthy ones."""

    values: tuple[Speed, ...]
    median_us: float
    noise: NoiseModel

    @property
    def is_cluster_wide(self) -> bool:
        """Whether more than half of the nodes are slow with every partner."""
        best = _best_by_node(self.values)
        bound = min(self.noise.log_fail_ratio, -3 * self.noise.scatter)
        slow = [speed for speed in best.values() if speed < bound]
        return len(slow) > _CLUSTER_WIDE_SHARE * len(best)


def relative_speeds(
    outcomes: Sequence[PairTiming], switches: Sequence[str], thresholds: Thresholds
) -> Speeds:
    """Compare pairs below one switch, and pairs across switches, with their own kind.

    `outcomes` must not be empty, and all must have a time.
    """
    kinds: dict[bool, list[Speed]] = {False: [], True: []}
    for o in outcomes:
        if o.time_us:
            is_across = switches[o.pair[0]] != switches[o.pair[1]]
            kinds[is_across].append((o.pair, -math.log(o.time_us)))
    both = [*kinds[False], *kinds[True]]
    trial_scatter = statistics.median(o.scatter for o in outcomes)
    # A bad node may be in most of a few pairs; the difference between two times of the
    # same pair is not affected by that.
    repeats = _scatter_from_repeats(both) if len(both) < _LARGE_SAMPLE else None
    if repeats is None:
        cutoff = _outlier_cutoff(
            thresholds, max(trial_scatter, *map(_scatter_from_majority, kinds.values()))
        )
    else:
        cutoff = _outlier_cutoff(thresholds, max(trial_scatter, repeats))
    reference = _reference_speed(both, cutoff)
    reference_of = {
        kind: _reference_speed(speeds, cutoff)
        if len(speeds) >= _MIN_OF_KIND
        else reference
        for kind, speeds in kinds.items()
    }
    values = tuple(
        (pair, speed - reference_of[kind])
        for kind, speeds in kinds.items()
        for pair, speed in speeds
    )
    scatter = _scatter_from_healthy(values, cutoff) if repeats is None else repeats
    nodes = {node for pair, _ in values for node in pair}
    is_mostly_across = len(kinds[True]) > len(kinds[False])
    noise = NoiseModel(
        thresholds, max(trial_scatter, scatter, _MIN_SCATTER), len(nodes)
    )
    return Speeds(values, math.exp(-reference_of[is_mostly_across]), noise)


def by_pair(speeds: Iterable[Speed]) -> Mapping[Pair, list[float]]:
    """All speeds of each pair."""
    pairs: dict[Pair, list[float]] = defaultdict(list)
    for pair, speed in speeds:
        pairs[pair].append(speed)
    return pairs


def _reference_speed(speeds: Sequence[Speed], cutoff: float) -> float:
    """The median of the healthy pairs.

    Not of all pairs: one slow node of four makes half of the pairs slow. Most nodes are
    fast in their best pair.
    """
    best = sorted(_best_by_node(speeds).values())
    reference = best[len(best) * 3 // 4]
    for _ in range(4):
        reference = statistics.median(v for _, v in speeds if v >= reference + cutoff)
    return reference


def _best_by_node(speeds: Iterable[Speed]) -> dict[int, float]:
    best: dict[int, float] = {}
    for pair, speed in speeds:
        for node in pair:
            if speed > best.get(node, -math.inf):
                best[node] = speed
    return best


def _outlier_cutoff(thresholds: Thresholds, scatter: float) -> float:
    """How much slower than the reference a pair may be and still count for it.

    Between the two thresholds, so that few failing pairs are included; lower if times
    scatter, because otherwise only the fastest pairs would count.
    """
    middle = (math.log(thresholds.fail_below) + math.log(thresholds.warn_below)) / 2
    return min(middle, -2 * scatter)


def _scatter_from_majority(speeds: Sequence[Speed]) -> float:
    """The scatter of the half of the pairs that are most alike.

    0 for up to four nodes, since one slow node of four is in half of the pairs.
    """
    if len({node for pair, _ in speeds for node in pair}) <= 4:
        return 0.0
    values = sorted(speed for _, speed in speeds)
    half = len(values) // 2
    shortest = min(b - a for a, b in zip(values, values[half:], strict=False))
    return _small_sample_correction(shortest / _IQR_TO_SIGMA, len(values))


def _scatter_from_healthy(speeds: Iterable[Speed], cutoff: float) -> float:
    """The scatter of the healthy pairs."""
    deviations = [abs(speed) for _, speed in speeds if speed >= cutoff]
    return _small_sample_correction(
        MAD_TO_SIGMA * statistics.median(deviations), len(deviations)
    )


def _scatter_from_repeats(speeds: Sequence[Speed]) -> float | None:
    """The scatter by repeated measurements of pairs; None with fewer than three."""
    twice = [values for values in by_pair(speeds).values() if len(values) > 1]
    if len(twice) < 3:
        return None
    squares = [(values[0] - values[1]) ** 2 / 2 for values in twice]
    return _small_sample_correction(math.sqrt(statistics.fmean(squares)), len(squares))


def _small_sample_correction(scatter: float, count: int) -> float:
    """Correct for small samples, which may be alike by chance."""
    return scatter * (1 + 5 / count)
