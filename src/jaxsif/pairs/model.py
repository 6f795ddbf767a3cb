"""What pairs of nodes measured, and what it is taken to show: the values of the search for a slow node; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# What one rank says of an exchange: its number, its partner's, the time of each trial.
PairSample = tuple[int, int, Sequence[float]]

# Two nodes by their indices, the lower first.
Pair = tuple[int, int]

# Speed relative to the median of the pairs: below the first it is a warning, below the
# second a failure. The same share of what is expected is asked of collectives.
PASSES, FAILS = 0.85, 0.70

NODE, LINK, SWITCH, SWITCHES = "node", "link", "switch", "switches"

# The standard deviation of a normal distribution whose median deviation is 1, and how
# much more than their mean the median of its samples scatters.
DEVIATION, _OF_THE_MEDIAN = 1.4826, 1.2533


@dataclass(frozen=True)
class Bounds:
    """Below which relative speed something is slow, and below which it fails.

    `is_by_best`: of a pair's trials in a round the best is its time, not their median,
    and of a trial the mean of its two ends, not the shorter.
    """

    passes: float = PASSES
    fails: float = FAILS
    is_by_best: bool = False


BANDWIDTH = Bounds()
# Small messages scatter more, and are slow only when they take twice the time. A core
# that is busy with something else keeps some of them waiting for milliseconds; a slow way
# delays every one, so also the best.
LATENCY = Bounds(0.5, 0.5, is_by_best=True)


@dataclass(frozen=True)
class PairTiming:
    """What one pair of nodes measured in one round.

    `time_us` is None where the two did not answer each other in time, which says nothing
    about speed. `scatter` is the relative standard error of the time, by its trials.
    """

    pair: Pair
    time_us: float | None
    scatter: float = 0.0


@dataclass(frozen=True)
class SlowElement:
    """Something slow: a node, the link of two nodes, the uplink of a switch, or the way
    between two switches.

    `speed` is relative to the median of the pairs; `partners` are the nodes with which
    it was measured. `who` are the nodes concerned; `places` names switches.
    """

    kind: str
    who: tuple[int, ...]
    speed: float
    partners: tuple[int, ...] = ()
    places: tuple[str, ...] = ()
    is_failure: bool = True


@dataclass(frozen=True)
class SearchResult:
    """What the outcomes show, and what they leave open."""

    blames: tuple[SlowElement, ...] = ()
    # The time of a pair when all is well, and how far such times scatter, relatively.
    median_us: float | None = None
    scatter: float = 0.0
    # More than half of the nodes are slow: no fault of theirs.
    is_widespread: bool = False
    # Pairs that did not answer in time.
    silent: tuple[Pair, ...] = ()
    # Pairs that are clearly slow, by the fault of nobody in particular.
    undecided: tuple[Pair, ...] = ()
    # For the next round: who is to be measured again, which pairs, and with whom.
    suspects: tuple[int, ...] = ()
    doubtful_links: tuple[Pair, ...] = ()
    good: tuple[int, ...] = ()
    # Nodes by which it shows at which of two switches the fault is.
    probes: tuple[int, ...] = ()

    @property
    def slow_nodes(self) -> set[int]:
        """The nodes that are slow."""
        return {blame.who[0] for blame in self.blames if blame.kind == NODE}


def as_pair(first: int, second: int) -> Pair:
    """The lower number first."""
    return (first, second) if first < second else (second, first)


def pair_timing(
    pair: Pair, times_us: Sequence[float], bounds: Bounds = BANDWIDTH
) -> PairTiming:
    """What a pair's trials come to; without trials the two did not answer in time."""
    if not times_us:
        return PairTiming(pair, None)
    if bounds.is_by_best:
        return _best(pair, times_us)
    median = statistics.median(times_us)
    deviation = DEVIATION * statistics.median(abs(t - median) for t in times_us)
    error = _OF_THE_MEDIAN * deviation / math.sqrt(len(times_us))
    return PairTiming(pair, median, error / median if median else 0.0)


def _best(pair: Pair, times_us: Sequence[float]) -> PairTiming:
    """How far the second best is from the best tells how far the best is to be trusted."""
    best, *others = sorted(times_us)
    error = others[0] - best if others else 0.0
    return PairTiming(pair, best, error / best if best else 0.0)


def times_of_pair(
    tellings: Iterable[PairSample], bounds: Bounds = BANDWIDTH
) -> list[float]:
    """The times of two nodes, the shortest first, from what their ranks measured.

    The earlier of two ranks waits for the later, so the shorter time of both is that of
    their exchange. Not so for a small message, which is there already when the later
    begins: as much as that one saves, the earlier waits, so their mean is never too short,
    as it has to be where the best counts. Two nodes are as fast as their slowest ranks: in the best trial of
    each, in the second best and so on, since what keeps one rank waiting once is not to
    spoil the others' trials. Empty when a rank did not come to an end.
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
