"""The values of the search for a slow node: pair timings, and what they show."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# One rank's timings of an exchange: its number, its partner's, the time of each trial.
PairSample = tuple[int, int, Sequence[float]]

# Two nodes by their indices, the lower first.
Pair = tuple[int, int]

# Speed relative to the median of the pairs: below the first it is a warning, below the
# second a failure. Collectives are rated by the same ratios of the expected speed.
PASSES, FAILS = 0.85, 0.70

NODE, LINK, SWITCH, SWITCHES = "node", "link", "switch", "switches"

# The standard deviation of a normal distribution whose median deviation is 1, and the
# standard error of its samples' median relative to that of their mean.
DEVIATION, _OF_THE_MEDIAN = 1.4826, 1.2533


@dataclass(frozen=True)
class Bounds:
    """The relative speeds below which something is slow, and below which it fails.

    `is_by_best`: the time of a pair is the best of its trials in a round instead of their
    median, and the time of a trial the mean of its two ends instead of the shorter.
    """

    passes: float = PASSES
    fails: float = FAILS
    is_by_best: bool = False


BANDWIDTH = Bounds()
# Small messages scatter more, and are slow only when they take twice the time. A busy
# core delays some of them by milliseconds; a slow path delays all, even the best.
LATENCY = Bounds(0.5, 0.5, is_by_best=True)


@dataclass(frozen=True)
class PairTiming:
    """The time of one pair of nodes in one round.

    `time_us` is None if the two did not respond to each other in time; their speed is
    then unknown. `scatter` is the relative standard error of the time over its trials.
    """

    pair: Pair
    time_us: float | None
    scatter: float = 0.0


@dataclass(frozen=True)
class SlowElement:
    """A slow node, link of two nodes, uplink of a switch, or path between two switches.

    `speed` is relative to the median of the pairs; `partners` are the nodes with which
    it was measured. `who` are the nodes concerned; `places` the switches.
    """

    kind: str
    who: tuple[int, ...]
    speed: float
    partners: tuple[int, ...] = ()
    places: tuple[str, ...] = ()
    is_failure: bool = True


@dataclass(frozen=True)
class SearchResult:
    """What the timings show, and what they leave open."""

    blames: tuple[SlowElement, ...] = ()
    # The time of a healthy pair, and the relative scatter of such times.
    median_us: float | None = None
    scatter: float = 0.0
    # More than half of the nodes are slow: the fault is not in single nodes.
    is_widespread: bool = False
    # Pairs that did not respond in time.
    silent: tuple[Pair, ...] = ()
    # Pairs that are clearly slow, but neither node nor link is implicated.
    undecided: tuple[Pair, ...] = ()
    # For the next round: nodes and pairs to measure again, and healthy partners.
    suspects: tuple[int, ...] = ()
    doubtful_links: tuple[Pair, ...] = ()
    good: tuple[int, ...] = ()
    # Nodes whose next times show which of two switches is slow.
    probes: tuple[int, ...] = ()

    @property
    def slow_nodes(self) -> set[int]:
        """The nodes that are slow."""
        return {blame.who[0] for blame in self.blames if blame.kind == NODE}


def as_pair(first: int, second: int) -> Pair:
    """Return the pair, the lower number first."""
    return (first, second) if first < second else (second, first)


def pair_timing(
    pair: Pair, times_us: Sequence[float], bounds: Bounds = BANDWIDTH
) -> PairTiming:
    """Summarize a pair's trials; without trials the two did not respond in time."""
    if not times_us:
        return PairTiming(pair, None)
    if bounds.is_by_best:
        return _best(pair, times_us)
    median = statistics.median(times_us)
    deviation = DEVIATION * statistics.median(abs(t - median) for t in times_us)
    error = _OF_THE_MEDIAN * deviation / math.sqrt(len(times_us))
    return PairTiming(pair, median, error / median if median else 0.0)


def _best(pair: Pair, times_us: Sequence[float]) -> PairTiming:
    """The gap between the two best trials is the uncertainty of the best."""
    best, *others = sorted(times_us)
    error = others[0] - best if others else 0.0
    return PairTiming(pair, best, error / best if best else 0.0)


def times_of_pair(
    tellings: Iterable[PairSample], bounds: Bounds = BANDWIDTH
) -> list[float]:
    """Merge the ranks' times of two nodes into the times of the pair, shortest first.

    The earlier of two ranks waits for the later, so the shorter time of both is that of
    their exchange. A small message has already arrived when the later rank begins: the
    time one rank saves, the other waits. The mean is therefore never too short, which
    matters because the minimum is used. Two nodes are as fast as their slowest ranks: in
    the best trial of each, in the second best and so on, so that one delayed trial of one
    rank does not affect the others' trials. Empty if a rank did not finish.
    """
    by_ranks: dict[Pair, list[Sequence[float]]] = defaultdict(list)
    for rank, partner, times_us in tellings:
        by_ranks[as_pair(rank, partner)].append(times_us)
    of_ends = statistics.fmean if bounds.is_by_best else min
    exchanges = [
        sorted(of_ends(ends) for ends in zip(*told, strict=False))
        for told in by_ranks.values()
    ]
    return [max(trial) for trial in zip(*exchanges, strict=False)]
