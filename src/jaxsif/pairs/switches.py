"""Finds slow uplinks of switches, and slow paths between two switches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxsif.pairs.model import SWITCH, SWITCHES, Pair, SlowElement
from jaxsif.pairs.noise import NoiseModel, Speed

# Two switches by their names, in alphabetical order.
SwitchPair = tuple[str, str]

# Minimum number of slow nodes before their switch is reported instead of the nodes.
_ENOUGH = 3


class SwitchPaths:
    """The speeds between each two switches; slow paths are removed as they are found."""

    def __init__(
        self, speeds: Iterable[Speed], places: Sequence[str], scale: NoiseModel
    ) -> None:
        self._places = places
        self._scale = scale
        self._open: dict[SwitchPair, dict[Pair, float]] = defaultdict(dict)
        for pair, speed in speeds:
            first, second = sorted(places[node] for node in pair)
            if first != second:
                self._open[first, second][pair] = speed
        self._ways_of: dict[str, list[SwitchPair]] = defaultdict(list)
        for way in self._open:
            for place in way:
                self._ways_of[place].append(way)
        # Pairs whose slowness is explained.
        self.explained: set[Pair] = set()
        # Nodes to measure again with other switches, to see which of two is slow, and the
        # switches whose nodes are no retest partners until then.
        self.probes: list[int] = []
        self.doubtful_places: set[str] = set()

    def blames(self) -> Iterator[SlowElement]:
        """The slow uplinks, then the slow paths between two switches."""
        for place in sorted(self._ways_of, key=self._median_of):
            ways = self._still_open(place)
            if self._is_slow_uplink(place, ways):
                yield self._blame(SWITCH, (place,), ways)
        for way in sorted(self._open):
            pairs = self._open[way]
            many = min(len(self._nodes_of(place, pairs)) for place in way) >= _ENOUGH
            if many and self._is_slow(pairs.values()):
                self._doubt(way, pairs)
                yield self._blame(SWITCHES, way, [way])

    def _still_open(self, place: str) -> list[SwitchPair]:
        return [way for way in self._ways_of[place] if way in self._open]

    def _median_of(self, place: str) -> float:
        return statistics.median(
            v for way in self._ways_of[place] for v in self._open[way].values()
        )

    def _nodes_of(self, place: str, pairs: Iterable[Pair]) -> list[int]:
        nodes = {node for pair in pairs for node in pair}
        return sorted(node for node in nodes if self._places[node] == place)

    def _is_slow_uplink(self, place: str, ways: Sequence[SwitchPair]) -> bool:
        pairs = {pair: v for way in ways for pair, v in self._open[way].items()}
        if len(ways) < 2 or len(self._nodes_of(place, pairs)) < _ENOUGH:
            return False
        # Slow as well without the path of most pairs, which may be slow at its other end.
        rest = sorted(ways, key=lambda way: len(self._open[way]))[:-1]
        others = [v for way in rest for v in self._open[way].values()]
        return (
            self._is_slow(pairs.values())
            and len(others) >= _ENOUGH
            and statistics.median(others) < self._scale.passes
        )

    def _is_slow(self, speeds: Iterable[float]) -> bool:
        """By the median, since one slow node does not make a path slow."""
        values = list(speeds)
        return statistics.median(values) < self._scale.limit(len(values))

    def _blame(
        self, kind: str, who: tuple[str, ...], ways: Iterable[SwitchPair]
    ) -> SlowElement:
        pairs: Mapping[Pair, float] = {
            pair: v for way in ways for pair, v in self._open.pop(way).items()
        }
        self.explained.update(pairs)
        nodes = sorted({node for pair in pairs for node in pair})
        speed = math.exp(statistics.median(pairs.values()))
        return SlowElement(
            kind,
            tuple(node for node in nodes if self._places[node] in who),
            speed,
            tuple(node for node in nodes if self._places[node] not in who),
            who,
            speed < self._scale.bounds.fails,
        )

    def _doubt(self, way: SwitchPair, pairs: Iterable[Pair]) -> None:
        """If a switch has no other path, either uplink may be the slow one."""
        for place in way:
            if len(self._ways_of[place]) < 2:
                self.doubtful_places.update(way)
                self.probes += self._nodes_of(place, pairs)[:_ENOUGH]
