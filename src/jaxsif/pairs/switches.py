"""Finds slow uplinks of switches, and slow paths between two switches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxsif.pairs.model import SWITCH, SWITCHES, Pair, SlowElement, Speed
from jaxsif.pairs.noise import NoiseModel

# Two switches by their names, in alphabetical order.
SwitchPair = tuple[str, str]

# Minimum number of slow nodes before their switch is reported instead of the nodes.
_MIN_NODES = 3


class SwitchPaths:
    """The speeds between each two switches; slow paths are removed as they are found."""

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
