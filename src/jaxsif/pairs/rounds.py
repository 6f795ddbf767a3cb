"""Plans the pairs of nodes of each round, to find a slow one."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxsif.pairs.locate import locate_slow_elements
from jaxsif.pairs.model import BANDWIDTH, LATENCY, Pair, PairTiming, Thresholds, as_pair

# Why a round has the pairs that it has.
DISJOINT, SHIFTED, RETEST, FULL = "disjoint", "shifted", "retest", "full"

# Three rounds find a single fault; scattering times need more. With up to this many
# nodes every pair is measured twice.
MAX_ROUNDS = 8
_MAX_EXHAUSTIVE_NODES = 6
# Measurements after which a slow node is not retested, if it has as many partners.
_MAX_RETEST_PARTNERS = 3
_MAX_SEARCH = 256


@dataclass(frozen=True)
class Round:
    """Pairs of nodes that exchange at the same time; no node is in two of them."""

    number: int
    kind: str
    pairs: tuple[Pair, ...]

    def partner(self, node: int) -> int | None:
        """The partner of a node; None if it sits out."""
        for first, second in self.pairs:
            if node in (first, second):
                return second if node == first else first
        return None


def next_round(
    outcomes: Sequence[PairTiming],
    switches: Sequence[str],
    done: Sequence[Round],
    *,
    latency_outcomes: Sequence[PairTiming] = (),
    is_full: bool = False,
) -> Round | None:
    """Return the next round; None if nothing is open, or the rounds are used up.

    Args:
      outcomes: of all rounds so far.
      switches: the switch of each node, by the node's index; "" if unknown.
      done: the rounds so far.
      latency_outcomes: the outcomes of small messages, if measured.
      is_full: whether every node meets every other, for a map of all pairs.
    """
    count, number = len(switches), len(done) + 1
    if count < 2:
        return None
    robin = number_of_full_rounds(count)
    if is_full:
        return full_round(switches, number) if number <= robin else None
    if count <= _MAX_EXHAUSTIVE_NODES:
        # Every pair twice; the difference between the two times is the noise.
        if number <= 2 * robin:
            return full_round(switches, number)
    elif number == 1:
        return disjoint_round(switches)
    elif number == 2:
        return shifted_round(switches, done[0])
    if number > MAX_ROUNDS + (robin if count <= _MAX_EXHAUSTIVE_NODES else 0):
        return None
    for measured, thresholds in ((outcomes, BANDWIDTH), (latency_outcomes, LATENCY)):
        if pairs := sorted(_RetestPlanner(measured, switches, thresholds).pairs()):
            return Round(number, RETEST, tuple(pairs))
    return None


def disjoint_round(switches: Sequence[str]) -> Round:
    """Pair neighbours, below one switch if possible; of an odd number one sits out."""
    pairs, alone = [], []
    for nodes in _by_switch(switches):
        pairs += list(zip(nodes[::2], nodes[1::2], strict=False))
        alone += nodes[len(nodes) // 2 * 2 :]
    pairs += list(zip(alone[::2], alone[1::2], strict=False))
    return Round(1, DISJOINT, tuple(as_pair(*pair) for pair in sorted(pairs)))


def shifted_round(switches: Sequence[str], first: Round) -> Round:
    """Give each node a partner half the cluster away: below another switch.

    Of an odd number a node sits out that did not in the first round.
    """
    order = [node for nodes in _by_switch(switches) for node in nodes]
    if len(order) % 2:
        order.remove(next(n for n in order if first.partner(n) is not None))
    half, known = len(order) // 2, set(first.pairs)
    near, far = order[:half], order[half:]
    choices = (
        [as_pair(a, b) for a, b in zip(near, far[i:] + far[:i], strict=True)]
        for i in range(min(half, 4))
    )
    pairs = min(choices, key=lambda choice: len(known.intersection(choice)))
    return Round(2, SHIFTED, tuple(sorted(pairs)))


def number_of_full_rounds(count: int) -> int:
    """The number of rounds in which every node meets every other."""
    return count - 1 if count % 2 == 0 else count


def full_round(switches: Sequence[str], number: int) -> Round:
    """One round of a full round robin, by the circle method, counted from 1."""
    order: list[int | None] = [node for nodes in _by_switch(switches) for node in nodes]
    if len(order) % 2:
        order.append(None)
    fixed, circle = order[0], deque(order[1:])
    circle.rotate(number - 1)
    ring = [fixed, *circle]
    half = len(ring) // 2
    pairs = [
        as_pair(a, b)
        for a, b in zip(ring[:half], reversed(ring[half:]), strict=True)
        if a is not None and b is not None
    ]
    return Round(number, FULL, tuple(sorted(pairs)))


def _by_switch(switches: Sequence[str]) -> list[list[int]]:
    """The nodes of each switch; switches in the order of their first nodes."""
    groups: dict[str, list[int]] = {}
    for node, switch in enumerate(switches):
        groups.setdefault(switch, []).append(node)
    return list(groups.values())


class _RetestPlanner:
    """Selects the pairs to measure again, each node at most once per round."""

    def __init__(
        self,
        outcomes: Sequence[PairTiming],
        switches: Sequence[str],
        thresholds: Thresholds,
    ) -> None:
        self._result = locate_slow_elements(outcomes, switches, thresholds)
        self._switches = switches
        self._enough = min(_MAX_RETEST_PARTNERS, len(switches) - 1)
        self._met: dict[int, set[int]] = defaultdict(set)
        for first, second in (outcome.pair for outcome in outcomes):
            self._met[first].add(second)
            self._met[second].add(first)
        self._busy: set[int] = set()
        self._healthy: deque[int] = deque()

    def pairs(self) -> Iterator[Pair]:
        """Unconfirmed links once more, then each suspect with a healthy node."""
        result = self._result
        for pair in result.unconfirmed_links:
            if self._busy.isdisjoint(pair):
                self._busy.update(pair)
                yield pair
        self._healthy.extend(n for n in result.healthy if n not in self._busy)
        # Spread over all healthy nodes, so that no single switch serves all partners.
        count = len(result.probes) + len(result.suspects)
        stride = max(len(self._healthy) // (count + 1), 1)
        for node in dict.fromkeys((*result.probes, *result.suspects)):
            partner = self._partner(node, node in result.probes)
            if partner is not None:
                self._healthy.rotate(-stride)
                yield as_pair(node, partner)

    def _partner(self, node: int, is_probe: bool) -> int | None:
        """Prefer a new partner; for a probe, one below a new switch."""
        met = self._met[node]
        is_known = node in self._result.slow_nodes and len(met) >= self._enough
        if node in self._busy or (is_known and not is_probe):
            return None
        known_switches = (
            {self._switches[n] for n in (*met, node)} if is_probe else set()
        )
        for _ in range(min(len(self._healthy), _MAX_SEARCH)):
            first = self._healthy[0]
            if first not in met and self._switches[first] not in known_switches:
                break
            self._healthy.rotate(-1)
        return self._healthy.popleft() if self._healthy else None
