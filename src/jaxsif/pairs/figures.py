"""The figures of pairs of nodes in the verdict file, which reports show."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf
from statistics import median

from jaxsif.core.history import Histories
from jaxsif.core.records import PairRecord
from jaxsif.core.verdict_file import NodePair, NodePairs, PairNode, SlowPart
from jaxsif.pairs.model import Pair, SearchResult, as_pair
from jaxsif.pairs.results import PairResults, pair_records, pair_results


def node_pairs(histories: Histories, devices_per_node: int) -> NodePairs | None:
    """Return the figures behind the verdict; None if no pair of nodes was measured."""
    pairs = pair_results(histories, devices_per_node)
    if pairs is None or not pairs.outcomes:
        return None
    numbers = {node: number for number, node in enumerate(pairs.nodes)}
    records: dict[Pair, list[PairRecord]] = defaultdict(list)
    for record in pair_records(histories):
        ends = (numbers.get(record.node), numbers.get(record.partner_node))
        if ends[0] is not None and ends[1] is not None and ends[0] != ends[1]:
            records[as_pair(ends[0], ends[1])].append(record)
    result = pairs.bandwidth()
    order = _order(pairs)
    found = _pairs(pairs, records, result, order)
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
    return {node: place for place, node in enumerate(nodes)}


def _pairs(
    pairs: PairResults,
    records: Mapping[Pair, Sequence[PairRecord]],
    result: SearchResult,
    order: Mapping[int, int],
) -> tuple[NodePair, ...]:
    times: dict[Pair, list[float]] = defaultdict(list)
    for outcome in pairs.largest:
        if outcome.time_us:
            times[outcome.pair].append(outcome.time_us)
    ratios = result.pair_ratios
    found = []
    for pair, of_pair in records.items():
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
