"""Rank 0's plan: the results so far, and the next round of pairs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxsif.pairs.coordinator import NodeInfo
from jaxsif.pairs.model import LATENCY, Pair, PairTiming, pair_timing
from jaxsif.pairs.rounds import Round, next_round

# The times of each pair: of the small message, then of the large one.
Results = Mapping[Pair, Sequence[Sequence[float]]]


@dataclass
class RoundPlanner:
    """The nodes, the rounds so far, and their results."""

    nodes: list[NodeInfo]
    is_full: bool
    rounds: list[Round] = field(default_factory=list)
    latency: list[PairTiming] = field(default_factory=list)
    bandwidth: list[PairTiming] = field(default_factory=list)

    def next(self) -> Round | None:
        """The next round, by the same rules as in the simulation."""
        switches = [node.switch for node in self.nodes]
        return next_round(
            self.bandwidth,
            switches,
            self.rounds,
            latency_outcomes=self.latency,
            is_full=self.is_full,
        )

    def record_round(self, planned: Round, results: Results) -> str:
        """Add the results of a round. Return a line that describes them."""
        self.rounds.append(planned)
        last = []
        for pair, (small, large) in results.items():
            self.latency.append(pair_timing(pair, small, LATENCY))
            last.append(pair_timing(pair, large))
        self.bandwidth += last
        slowest = max(last, key=lambda outcome: outcome.time_us or 0.0)
        names = " and ".join(self.nodes[node].node for node in slowest.pair)
        median_us = statistics.median(outcome.time_us or 0.0 for outcome in last)
        return (
            f"Round {planned.number} ({planned.kind}): {len(planned.pairs)}"
            f" {'pair' if len(planned.pairs) == 1 else 'pairs'}, median"
            f" {median_us / 1e3:.3f} ms, slowest {names} {(slowest.time_us or 0) / 1e3:.3f} ms"
        )
