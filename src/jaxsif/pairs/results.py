"""Results of the pairs of nodes: timings, the search, and the verdict's figures."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from statistics import median

from jaxsif.core.history import Histories
from jaxsif.core.records import PairRecord
from jaxsif.core.text import plural
from jaxsif.core.verdict_file import NodePair, NodePairs, PairNode, SlowPart
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
    records: Mapping[Pair, Sequence[PairRecord]]
    rounds: int
    devices_per_node: int

    @cached_property
    def sizes(self) -> list[int]:
        """The smallest first."""
        return sorted(self.outcomes)

    @property
    def largest(self) -> Sequence[PairTiming]:
        """The outcomes that show the bandwidth."""
        return self.outcomes[self.sizes[-1]]

    @cached_property
    def bandwidth(self) -> SearchResult:
        """The search by the largest messages."""
        return locate_slow_elements(self.largest, self.switches, BANDWIDTH)

    @cached_property
    def latency(self) -> SearchResult:
        """The search by the smallest messages; empty if there is only one size."""
        if len(self.sizes) < 2:
            return SearchResult()
        return locate_slow_elements(
            self.outcomes[self.sizes[0]], self.switches, LATENCY
        )

    def timed_out(self) -> tuple[Pair, ...]:
        """Pairs that did not respond in time, at any message size."""
        timings = (timing for timings in self.outcomes.values() for timing in timings)
        return tuple(sorted({t.pair for t in timings if t.time_us is None}))

    def gb_per_s(self, time_us: float) -> float:
        """The bandwidth from one node to the other, with the same amount back."""
        return self.sizes[-1] * self.devices_per_node / time_us / 1e3

    def ranks_of(self, nodes: Iterator[int] | Sequence[int]) -> tuple[int, ...]:
        """The ranks on some nodes."""
        return tuple(sorted(rank for node in nodes for rank in self.ranks[node]))

    def summary(self) -> str:
        """The measurement in one line, for the report."""
        result = self.bandwidth
        if result.median_us is None:
            return "no pair of nodes finished"
        ratios = result.pair_ratios
        slowest = min(ratios, key=lambda pair: ratios[pair])
        names = " and ".join(self.nodes[node] for node in slowest)
        reference = "it" if len(set(self.switches)) == 1 else "pairs of its kind"
        return (
            f"{plural(len(ratios), 'pair')} of {len(self.nodes):,} nodes in"
            f" {self.rounds} rounds: median {self.gb_per_s(result.median_us):.3g} GB/s"
            f" each way, spread {100 * result.scatter:.0f} %, slowest {names} at"
            f" {ratios[slowest]:.2f} of {reference}"
        )


def pair_results(histories: Histories, devices_per_node: int) -> PairResults | None:
    """None if no pairs were measured; without outcomes if there is only one node."""
    found = [r for history in histories.values() for r in history.measured(PairRecord)]
    if not found:
        return None
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank in sorted(histories):
        ranks[histories[rank].node].append(rank)
    numbers = {node: number for number, node in enumerate(ranks)}
    switches = {record.node: record.switch for record in found}
    records: dict[Pair, list[PairRecord]] = defaultdict(list)
    for record in found:
        ends = (numbers.get(record.node), numbers.get(record.partner_node))
        if ends[0] is not None and ends[1] is not None and ends[0] != ends[1]:
            records[as_pair(ends[0], ends[1])].append(record)
    return PairResults(
        nodes=tuple(ranks),
        switches=[switches.get(node, "") for node in ranks],
        ranks=tuple(ranks.values()),
        outcomes=_outcomes(records),
        records=records,
        rounds=max(record.round for record in found),
        devices_per_node=devices_per_node,
    )


def _outcomes(
    records: Mapping[Pair, Sequence[PairRecord]],
) -> dict[int, list[PairTiming]]:
    """The timing of each pair in each round, as rank 0 merged them for its plan."""
    samples: dict[tuple[int, int, Pair], list[PairSample]] = defaultdict(list)
    for pair, of_pair in records.items():
        for record in of_pair:
            times = [] if record.timed_out else record.times_us
            sample = (record.rank, record.partner, times)
            samples[record.size_bytes, record.round, pair].append(sample)
    sizes = {size for size, _, _ in samples}
    latency_size = min(sizes) if len(sizes) > 1 else None
    outcomes: dict[int, list[PairTiming]] = defaultdict(list)
    for (size, _, pair), of_round in sorted(samples.items(), key=lambda item: item[0]):
        thresholds = LATENCY if size == latency_size else BANDWIDTH
        times_us = merge_rank_times(of_round, thresholds)
        outcomes[size].append(pair_timing(pair, times_us, thresholds))
    return dict(outcomes)


def node_pairs(pairs: PairResults | None) -> NodePairs | None:
    """Return the verdict file's figures; None if no pair of nodes was measured."""
    if pairs is None or not pairs.outcomes:
        return None
    result = pairs.bandwidth
    order = _order(pairs)
    found = _pairs(pairs, result, order)
    return NodePairs(
        nodes=_nodes(pairs, found, result, order),
        pairs=found,
        median_gb_per_s=pairs.gb_per_s(result.median_us) if result.median_us else None,
        spread=result.scatter,
        is_cluster_wide=result.is_cluster_wide,
        slow=tuple(
            SlowPart(
                slow.kind,
                tuple(pairs.nodes[node] for node in slow.nodes),
                slow.relative_speed,
                slow.switches,
                slow.is_failure,
            )
            for slow in result.slow_elements
        ),
    )


def _order(pairs: PairResults) -> dict[int, int]:
    """The position of each node, sorted by switch if Slurm names it."""
    nodes = sorted(
        range(len(pairs.nodes)), key=lambda node: (pairs.switches[node], node)
    )
    return {node: position for position, node in enumerate(nodes)}


def _pairs(
    pairs: PairResults,
    result: SearchResult,
    order: Mapping[int, int],
) -> tuple[NodePair, ...]:
    times: dict[Pair, list[float]] = defaultdict(list)
    for outcome in pairs.largest:
        if outcome.time_us:
            times[outcome.pair].append(outcome.time_us)
    ratios = result.pair_ratios
    found = []
    for pair, of_pair in pairs.records.items():
        first, second = sorted(pair, key=order.__getitem__)
        size_bytes = max(record.size_bytes for record in of_pair)
        largest = [r for r in of_pair if r.size_bytes == size_bytes]
        slowest = max(largest, key=lambda r: median(r.times_us or (inf,)))
        found.append(
            NodePair(
                nodes=(pairs.nodes[first], pairs.nodes[second]),
                size_bytes=size_bytes,
                gb_per_s=pairs.gb_per_s(median(times[pair])) if times[pair] else None,
                ratio=ratios.get(pair),
                trials=sum(len(record.times_us) for record in largest),
                wrong=sum(record.wrong_elements for record in of_pair),
                timed_out=any(record.timed_out for record in of_pair),
                ranks=(slowest.rank, slowest.partner),
            )
        )
    return tuple(sorted(found, key=_slowness))


def _slowness(pair: NodePair) -> tuple[bool, float, tuple[str, str]]:
    return not pair.timed_out, pair.ratio or 0.0, pair.nodes


def _nodes(
    pairs: PairResults,
    found: Sequence[NodePair],
    result: SearchResult,
    order: Mapping[int, int],
) -> tuple[PairNode, ...]:
    of_node: dict[str, list[NodePair]] = defaultdict(list)
    for pair in found:
        for name in pair.nodes:
            of_node[name].append(pair)
    nodes = []
    for number in order:
        name = pairs.nodes[number]
        speeds = [p.gb_per_s for p in of_node[name] if p.gb_per_s is not None]
        if of_node[name]:
            nodes.append(
                PairNode(
                    node=name,
                    switch=pairs.switches[number],
                    pairs=len(of_node[name]),
                    timed_out=sum(pair.timed_out for pair in of_node[name]),
                    ratio=result.node_ratios.get(number),
                    slowest_gb_per_s=min(speeds, default=None),
                    median_gb_per_s=median(speeds) if speeds else None,
                )
            )
    return tuple(nodes)
