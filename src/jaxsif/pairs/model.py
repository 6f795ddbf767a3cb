"""The values of the search for a slow node: pair timings, and what they show."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jaxsif.core.evidence import FAIL_RATIO, WARN_RATIO

# One rank's timings of an exchange: its number, its partner's, the time of each trial.
PairSample = tuple[int, int, Sequence[float]]

# Two nodes by their indices, the lower first.
Pair = tuple[int, int]

# A pair and the logarithm of its speed.
Speed = tuple[Pair, float]

NODE, LINK, SWITCH, SWITCHES = "node", "link", "switch", "switches"

# The standard deviation of a normal distribution whose median deviation is 1, and the
# standard error of its samples' median relative to that of their mean.
MAD_TO_SIGMA, _MEDIAN_STANDARD_ERROR = 1.4826, 1.2533


@dataclass(frozen=True)
class Thresholds:
    """The relative speeds below which something is slow, and below which it fails.

    `uses_minimum`: the time of a pair is the best of its trials in a round instead of
    their median, and the time of a trial the mean of its two ends instead of the
    shorter.
    """

    warn_below: float = WARN_RATIO
    fail_below: float = FAIL_RATIO
    uses_minimum: bool = False


BANDWIDTH = Thresholds()
# Small messages scatter more, and are slow only when they take twice the time. A busy
# core delays some of them by milliseconds; a slow path delays all, even the best.
LATENCY = Thresholds(0.5, 0.5, uses_minimum=True)


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

    `relative_speed` is relative to the median of the pairs; `partners` are the nodes
    with which it was measured. `nodes` and `switches` are those concerned.
    """

    kind: str
    nodes: tuple[int, ...]
    relative_speed: float
    partners: tuple[int, ...] = ()
    switches: tuple[str, ...] = ()
    is_failure: bool = True


@dataclass(frozen=True)
class SearchResult:
    """What the timings show, and what they leave open."""

    slow_elements: tuple[SlowElement, ...] = ()
    # The time of a healthy pair, and the relative scatter of such times.
    median_us: float | None = None
    scatter: float = 0.0
    # More than half of the nodes are slow: the fault is not in single nodes.
    is_cluster_wide: bool = False
    # Pairs that did not respond in time.
    timed_out: tuple[Pair, ...] = ()
    # Pairs that are clearly slow, but neither node nor link is implicated.
    undecided: tuple[Pair, ...] = ()
    # For the next round: nodes and pairs to measure again, and healthy partners.
    suspects: tuple[int, ...] = ()
    unconfirmed_links: tuple[Pair, ...] = ()
    healthy: tuple[int, ...] = ()
    # Nodes whose next times show which of two switches is slow.
    probes: tuple[int, ...] = ()
    # Every measurement, relative to healthy pairs of the same kind.
    speeds: tuple[Speed, ...] = ()
    # The mean speed of each node, without pairs with slow nodes and across slow paths.
    node_ratios: Mapping[int, float] = field(default_factory=dict)

    @property
    def pair_ratios(self) -> dict[Pair, float]:
        """The median speed of each pair, relative to healthy pairs of the same kind."""
        times: dict[Pair, list[float]] = defaultdict(list)
        for pair, speed in self.speeds:
            times[pair].append(math.exp(-speed))
        return {pair: 1 / statistics.median(of) for pair, of in times.items()}

    @property
    def slow_nodes(self) -> set[int]:
        """The nodes that are slow."""
        return {slow.nodes[0] for slow in self.slow_elements if slow.kind == NODE}


def as_pair(first: int, second: int) -> Pair:
    """Return the pair, the lower number first."""
    return (first, second) if first < second else (second, first)


def pair_timing(
    pair: Pair, times_us: Sequence[float], thresholds: Thresholds = BANDWIDTH
) -> PairTiming:
    """Summarize a pair's trials; without trials the two did not respond in time."""
    if not times_us:
        return PairTiming(pair, None)
    if thresholds.uses_minimum:
        return _minimum_time(pair, times_us)
    median = statistics.median(times_us)
    deviation = MAD_TO_SIGMA * statistics.median(abs(t - median) for t in times_us)
    error = _MEDIAN_STANDARD_ERROR * deviation / math.sqrt(len(times_us))
    return PairTiming(pair, median, error / median if median else 0.0)


def _minimum_time(pair: Pair, times_us: Sequence[float]) -> PairTiming:
    """The gap between the two best trials is the uncertainty of the best."""
    best, *rest = sorted(times_us)
    error = rest[0] - best if rest else 0.0
    return PairTiming(pair, best, error / best if best else 0.0)


def merge_rank_times(
    samples: Iterable[PairSample], thresholds: Thresholds = BANDWIDTH
) -> list[float]:
    """Merge the ranks' times of two nodes into the times of the pair, shortest first.

    The earlier of two ranks waits for the later, so the shorter time of both is that of
    their exchange. A small message has already arrived when the later rank begins: the
    time one rank saves, the other waits. The mean is therefore never too short, which
    matters because the minimum is used. Two nodes are as fast as their slowest ranks:
    in the best trial of each, in the second best and so on, so that one delayed trial
    of one rank does not affect the others' trials. Empty if a rank did not finish.
    """
    by_ranks: dict[Pair, list[Sequence[float]]] = defaultdict(list)
    for rank, partner, times_us in samples:
        by_ranks[as_pair(rank, partner)].append(times_us)
    combine = _mean if thresholds.uses_minimum else min
    exchanges = [
        sorted(combine(ends) for ends in zip(*ends_of_ranks, strict=False))
        for ends_of_ranks in by_ranks.values()
    ]
    return [max(trial) for trial in zip(*exchanges, strict=False)]


def _mean(ends: Sequence[float]) -> float:
    # Several times as fast as statistics.fmean, for millions of pairs of numbers.
    return sum(ends) / len(ends)
