"""Locate the slow node, link or switch from the times of pairs of nodes."""
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
    SWITCH,
    SWITCHES,
    Pair,
    PairTiming,
    SearchResult,
    SlowElement,
    Speed,
    Thresholds,
)
from jaxsif.pairs.noise import NoiseModel, by_pair, relative_speeds

# Maximum number of measurements per pair.
_MAX_MEASUREMENTS = 5
# The speeds of one node, by partner.
_Samples = dict[int, list[float]]
# Two switches by their names, in alphabetical order.
SwitchPair = tuple[str, str]

# Minimum number of slow nodes before their switch is reported instead of the nodes.
_MIN_NODES = 3


def locate_slow_elements(
    outcomes: Sequence[PairTiming],
    switches: Sequence[str],
    thresholds: Thresholds = BANDWIDTH,
) -> SearchResult:
    """Rate the pairs of all rounds so far, relative to the healthy ones.

    A pair is as slow as its slower node, so both nodes of a slow pair are suspects
    until one of them is fast with another partner. Pairs that a slow switch explains do
    not count against their nodes, nor pairs of a slow node against the partner.

    Args:
      switches: the switch of each node, by the node's index; "" if unknown.
    """
    timed_out = tuple(sorted({o.pair for o in outcomes if o.time_us is None}))
    timed = [o for o in outcomes if o.time_us]
    if not timed:
        return SearchResult(timed_out=timed_out)
    speeds = relative_speeds(timed, switches, thresholds)
    noise = speeds.noise
    if speeds.is_cluster_wide:
        return SearchResult(
            median_us=speeds.median_us,
            scatter=noise.scatter,
            is_cluster_wide=True,
            timed_out=timed_out,
            speeds=speeds.values,
            node_ratios=_NodeSearch(speeds.values, noise).ratios(()),
        )
    paths = SwitchPaths(speeds.values, switches, noise)
    slow_paths = tuple(paths.slow_paths())
    nodes = _NodeSearch(
        [s for s in speeds.values if s[0] not in paths.attributed_pairs], noise
    )
    slow_nodes = tuple(nodes.slow_nodes())
    links = nodes.links()
    excluded = {node for pair in timed_out for node in pair}
    suspects = nodes.suspects(excluded)
    return SearchResult(
        slow_elements=(*slow_paths, *slow_nodes, *links.slow_elements),
        median_us=speeds.median_us,
        scatter=noise.scatter,
        timed_out=timed_out,
        undecided=links.undecided,
        suspects=suspects,
        unconfirmed_links=links.unconfirmed,
        healthy=_retest_partners(
            speeds.values, excluded.union(suspects), paths, switches
        ),
        probes=tuple(paths.probes),
        speeds=speeds.values,
        node_ratios=nodes.ratios(slow_nodes),
    )


def _retest_partners(
    speeds: Iterable[Speed],
    others: AbstractSet[int],
    paths: SwitchPaths,
    switches: Sequence[str],
) -> tuple[int, ...]:
    """The partners for retests: measured, not of `others` or a doubtful switch."""
    known = {node for pair, _ in speeds for node in pair}
    return tuple(
        node
        for node in sorted(known - others)
        if switches[node] not in paths.unconfirmed_switches
    )


@dataclass(frozen=True)
class _LinkFindings:
    """Pairs that are slow themselves, to be measured again, or slow without a cause."""

    slow_elements: tuple[SlowElement, ...]
    unconfirmed: tuple[Pair, ...]
    undecided: tuple[Pair, ...]


class _NodeSearch:
    """The speeds of each node; pairs with a slow node do not count for its partners."""

    def __init__(self, speeds: Sequence[Speed], noise: NoiseModel) -> None:
        self._speeds = by_pair(speeds)
        self._noise = noise
        self._samples: dict[int, _Samples] = defaultdict(dict)
        for (first, second), values in self._speeds.items():
            self._samples[first][second] = values
            self._samples[second][first] = values
        self._slow_nodes: set[int] = set()

    def slow_nodes(self) -> Iterator[SlowElement]:
        """Nodes that are slow with every partner, the slowest first."""
        queue = [(_mean(samples), node) for node, samples in self._samples.items()]
        heapq.heapify(queue)
        while queue and queue[0][0] < self._noise.retest_threshold(1):
            mean, node = heapq.heappop(queue)
            samples = self._samples[node]
            is_old = node in self._slow_nodes or mean != _mean(samples)
            if is_old or not self._is_slow(samples):
                continue
            self._slow_nodes.add(node)
            yield _slow_element(
                NODE, (node,), mean, self._noise, tuple(sorted(samples))
            )
            for partner in samples:
                others = self._samples[partner]
                others.pop(node, None)
                heapq.heappush(queue, (_mean(others), partner))

    def _is_slow(self, samples: _Samples) -> bool:
        """Slow on average, without its slowest partner, and even with its fastest."""
        if len(samples) < 2:
            return False
        rest, noise = _without_slowest(samples), self._noise
        return (
            _mean(samples) < noise.slow_threshold(_count(samples))
            and _mean(rest) < noise.residual_threshold(_count(rest))
            and max(_means(samples)) < noise.log_warn_ratio / 2
        )

    def ratios(self, slow: Iterable[SlowElement]) -> dict[int, float]:
        """The mean speed of each measured node, without its pairs with slow nodes."""
        ratios = {
            node: math.exp(_mean(samples))
            for node, samples in self._samples.items()
            if samples
        }
        return ratios | {element.nodes[0]: element.relative_speed for element in slow}

    def links(self) -> _LinkFindings:
        """Pairs that are slow although both nodes are fast with others."""
        slow, unconfirmed, undecided = [], [], []
        for pair, speeds in self._speeds.items():
            mean, count = statistics.fmean(speeds), len(speeds)
            if mean >= self._noise.retest_threshold(count):
                continue
            if not self._slow_nodes.isdisjoint(pair):
                continue
            first, second = pair
            is_link = self._is_healthy(first, second, mean) and self._is_healthy(
                second, first, mean
            )
            is_clear = mean < self._noise.slow_threshold(count)
            # Slow every time, so that a single very long time does not count as two.
            is_again = count > 1 and max(speeds) < self._noise.log_warn_ratio / 2
            if is_link and is_clear and is_again:
                slow.append(_slow_element(LINK, pair, mean, self._noise))
                continue
            if is_link and count < _MAX_MEASUREMENTS:
                unconfirmed.append(pair)
            if is_clear:
                undecided.append(pair)
        slow.sort(key=lambda element: element.relative_speed)
        return _LinkFindings(
            tuple(slow), tuple(sorted(unconfirmed)), tuple(sorted(undecided))
        )

    def _is_healthy(self, node: int, partner: int, mean: float) -> bool:
        """Whether a node is healthy with others, or at most half as slow as here."""
        rest = {p: v for p, v in self._samples[node].items() if p != partner}
        if not rest:
            return False
        bound = min(self._noise.retest_threshold(_count(rest)), mean / 2)
        return statistics.median(_means(rest)) >= bound

    def suspects(self, excluded: AbstractSet[int]) -> tuple[int, ...]:
        """The nodes to measure again, slow ones included, the slowest first."""
        means = {
            node: _mean(samples)
            for node, samples in self._samples.items()
            if node not in excluded
            and (node in self._slow_nodes or self._is_suspect(samples))
        }
        return tuple(sorted(means, key=lambda node: (means[node], node)))

    def _is_suspect(self, samples: _Samples) -> bool:
        """True as well for a node that met only slow nodes: its speed is unknown."""
        if not samples:
            return True
        if _mean(samples) >= self._noise.retest_threshold(_count(samples)):
            return False
        # Another measurement costs little; a slow node taken for healthy is missed.
        rest = _without_slowest(samples)
        return not rest or _mean(rest) < self._noise.healthy_threshold


def _count(samples: _Samples) -> int:
    return sum(map(len, samples.values()))


def _mean(samples: Mapping[int, Iterable[float]]) -> float:
    values = [v for values_of_pair in samples.values() for v in values_of_pair]
    return sum(values) / len(values) if values else 0.0


def _means(samples: _Samples) -> list[float]:
    return [statistics.fmean(values) for values in samples.values()]


def _without_slowest(samples: _Samples) -> _Samples:
    slowest = min(samples, key=lambda partner: statistics.fmean(samples[partner]))
    return {partner: v for partner, v in samples.items() if partner != slowest}


def _slow_element(
    kind: str,
    nodes: tuple[int, ...],
    mean: float,
    noise: NoiseModel,
    partners: tuple[int, ...] = (),
) -> SlowElement:
    speed = math.exp(mean)
    is_failure = speed < noise.thresholds.fail_below
    return SlowElement(kind, nodes, speed, partners, is_failure=is_failure)


class SwitchPaths:
    """The speeds between each two switches; slow paths are removed when found."""

    def __init__(
        self, speeds: Iterable[Speed], switches: Sequence[str], noise: NoiseModel
    ) -> None:
        self._switches = switches
        self._noise = noise
        self._open: dict[SwitchPair, dict[Pair, float]] = defaultdict(dict)
        for pair, speed in speeds:
            first, second = sorted(switches[node] for node in pair)
            if first != second:
                self._open[first, second][pair] = speed
        self._paths_of: dict[str, list[SwitchPair]] = defaultdict(list)
        for path in self._open:
            for switch in path:
                self._paths_of[switch].append(path)
        # Pairs whose slowness is explained.
        self.attributed_pairs: set[Pair] = set()
        # Nodes to measure again with other switches, to see which of two is slow, and
        # the switches whose nodes are no retest partners until then.
        self.probes: list[int] = []
        self.unconfirmed_switches: set[str] = set()

    def slow_paths(self) -> Iterator[SlowElement]:
        """The slow uplinks, then the slow paths between two switches."""
        for switch in sorted(self._paths_of, key=self._median_of):
            paths = self._unattributed(switch)
            if self._is_slow_uplink(switch, paths):
                yield self._slow_element(SWITCH, (switch,), paths)
        for path in sorted(self._open):
            pairs = self._open[path]
            is_wide = (
                min(len(self._nodes_of(switch, pairs)) for switch in path) >= _MIN_NODES
            )
            if is_wide and self._is_slow(pairs.values()):
                self._mark_unconfirmed(path, pairs)
                yield self._slow_element(SWITCHES, path, [path])

    def _unattributed(self, switch: str) -> list[SwitchPair]:
        return [path for path in self._paths_of[switch] if path in self._open]

    def _median_of(self, switch: str) -> float:
        return statistics.median(
            v for path in self._paths_of[switch] for v in self._open[path].values()
        )

    def _nodes_of(self, switch: str, pairs: Iterable[Pair]) -> list[int]:
        nodes = {node for pair in pairs for node in pair}
        return sorted(node for node in nodes if self._switches[node] == switch)

    def _is_slow_uplink(self, switch: str, paths: Sequence[SwitchPair]) -> bool:
        pairs = {pair: v for path in paths for pair, v in self._open[path].items()}
        if len(paths) < 2 or len(self._nodes_of(switch, pairs)) < _MIN_NODES:
            return False
        # Slow as well without the path of most pairs, which may be slow at its other
        # end.
        rest = sorted(paths, key=lambda path: len(self._open[path]))[:-1]
        others = [v for path in rest for v in self._open[path].values()]
        return (
            self._is_slow(pairs.values())
            and len(others) >= _MIN_NODES
            and statistics.median(others) < self._noise.log_warn_ratio
        )

    def _is_slow(self, speeds: Iterable[float]) -> bool:
        """By the median, since one slow node does not make a path slow."""
        values = list(speeds)
        return statistics.median(values) < self._noise.slow_threshold(len(values))

    def _slow_element(
        self, kind: str, names: tuple[str, ...], paths: Iterable[SwitchPair]
    ) -> SlowElement:
        pairs: Mapping[Pair, float] = {
            pair: v for path in paths for pair, v in self._open.pop(path).items()
        }
        self.attributed_pairs.update(pairs)
        nodes = sorted({node for pair in pairs for node in pair})
        speed = math.exp(statistics.median(pairs.values()))
        return SlowElement(
            kind,
            tuple(node for node in nodes if self._switches[node] in names),
            speed,
            tuple(node for node in nodes if self._switches[node] not in names),
            names,
            speed < self._noise.thresholds.fail_below,
        )

    def _mark_unconfirmed(self, path: SwitchPair, pairs: Iterable[Pair]) -> None:
        """If a switch has no other path, either uplink may be the slow one."""
        for switch in path:
            if len(self._paths_of[switch]) < 2:
                self.unconfirmed_switches.update(path)
                self.probes += self._nodes_of(switch, pairs)[:_MIN_NODES]
