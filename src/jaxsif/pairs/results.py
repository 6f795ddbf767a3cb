"""Results of the pairs of nodes, gathered from the ranks' records."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jaxsif.core.history import Histories
from jaxsif.core.records import PairRecord
from jaxsif.core.text import plural
from jaxsif.pairs.locate import locate_slow_elements
from jaxsif.pairs.model import (
    BANDWIDTH,
    LATENCY,
    Pair,
    PairSample,
    PairTiming,
    SearchResult,
    as_pair,
    merge_rank_times,
    pair_timing,
)


@dataclass(frozen=True)
class PairResults:
    """All pairs of a step. Nodes are numbered in the order of their first ranks."""

    nodes: Sequence[str]
    # The switch of each node, "" if unknown.
    switches: Sequence[str]
    ranks: Sequence[Sequence[int]]
    # By the bytes that a device sends per exchange.
    outcomes: Mapping[int, Sequence[PairTiming]]
    rounds: int
    devices_per_node: int

    @property
    def sizes(self) -> list[int]:
        """The smallest first."""
        return sorted(self.outcomes)

    @property
    def largest(self) -> Sequence[PairTiming]:
        """The outcomes that show the bandwidth."""
        return self.outcomes[self.sizes[-1]]

    def bandwidth(self) -> SearchResult:
        """The search by the largest messages."""
        return locate_slow_elements(self.largest, self.switches, BANDWIDTH)

    def latency(self) -> SearchResult:
        """The search by the smallest messages; empty if there is only one size."""
        if len(self.sizes) < 2:
            return SearchResult()
        return locate_slow_elements(
            self.outcomes[self.sizes[0]], self.switches, LATENCY
        )

    def timed_out(self) -> tuple[Pair, ...]:
        """Pairs that did not respond in time, at any message size."""
        timings = (
            outcome for of_one_size in self.outcomes.values() for outcome in of_one_size
        )
        return tuple(
            sorted({outcome.pair for outcome in timings if outcome.time_us is None})
        )

    def gb_per_s(self, time_us: float) -> float:
        """The bandwidth from one node to the other, with the same amount back."""
        return self.sizes[-1] * self.devices_per_node / time_us / 1e3

    def ranks_of(self, nodes: Iterator[int] | Sequence[int]) -> tuple[int, ...]:
        """The ranks on some nodes."""
        return tuple(sorted(rank for node in nodes for rank in self.ranks[node]))

    def summary(self) -> str:
        """The measurement in one line, for the report."""
        result = self.bandwidth()
        if result.median_us is None:
            return "no pair of nodes finished"
        ratios = result.pair_ratios
        slowest = min(ratios, key=lambda pair: ratios[pair])
        names = " and ".join(self.nodes[node] for node in slowest)
        reference = "it" if len(set(self.switches)) == 1 else "pairs of its kind"
        return (
            f"{plural(len(ratios), 'pair')} of {len(self.nodes):,} nodes in {self.rounds} rounds:"
            f" median {self.gb_per_s(result.median_us):.3g} GB/s each way, spread"
            f" {100 * result.scatter:.0f} %, slowest {names} at {ratios[slowest]:.2f} of"
            f" {reference}"
        )


def pair_results(histories: Histories, devices_per_node: int) -> PairResults | None:
    """None if no pairs were measured; without outcomes if there is only one node."""
    records = list(pair_records(histories))
    if not records:
        return None
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank in sorted(histories):
        ranks[histories[rank].node].append(rank)
    numbers = {node: number for number, node in enumerate(ranks)}
    switches = {record.node: record.switch for record in records}
    return PairResults(
        nodes=tuple(ranks),
        switches=[switches.get(node, "") for node in ranks],
        ranks=tuple(ranks.values()),
        outcomes=_outcomes(records, numbers),
        rounds=max(record.round for record in records),
        devices_per_node=devices_per_node,
    )


def pair_records(histories: Histories) -> Iterator[PairRecord]:
    """The records of all exchanges, rank by rank."""
    for history in histories.values():
        yield from history.measured(PairRecord)


def _outcomes(
    pair_records: Sequence[PairRecord], numbers: Mapping[str, int]
) -> dict[int, list[PairTiming]]:
    """The timing of each pair in each round, as rank 0 merged them for its plan."""
    samples: dict[tuple[int, int, Pair], list[PairSample]] = defaultdict(list)
    for record in pair_records:
        ends = (numbers.get(record.node), numbers.get(record.partner_node))
        if ends[0] is None or ends[1] is None or ends[0] == ends[1]:
            continue
        key = (record.size_bytes, record.round, as_pair(ends[0], ends[1]))
        times = [] if record.timed_out else record.times_us
        samples[key].append((record.rank, record.partner, times))
    sizes = {size for size, _, _ in samples}
    latency_size = min(sizes) if len(sizes) > 1 else None
    outcomes: dict[int, list[PairTiming]] = defaultdict(list)
    for (size, _, pair), of_pair in sorted(samples.items(), key=lambda item: item[0]):
        thresholds = LATENCY if size == latency_size else BANDWIDTH
        outcomes[size].append(
            pair_timing(pair, merge_rank_times(of_pair, thresholds), thresholds)
        )
    return dict(outcomes)
