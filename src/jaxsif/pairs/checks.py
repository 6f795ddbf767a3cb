"""Checks for slow nodes and links, and for pairs whose data was wrong or missing."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from jaxsif.core.evidence import Finding, StepEvidence, ranks_of, where
from jaxsif.core.records import FabricRecord, PairRecord
from jaxsif.core.text import listed
from jaxsif.pairs.model import (
    BANDWIDTH,
    LINK,
    NODE,
    SWITCH,
    Pair,
    SearchResult,
    SlowElement,
)
from jaxsif.pairs.results import PairResults


def corrupt_exchanges(evidence: StepEvidence) -> Iterator[Finding]:
    """The received data differ from the data sent."""
    for history in evidence.histories.values():
        wrong = [r for r in history.measured(PairRecord) if r.wrong_elements]
        if wrong:
            partners = sorted({record.partner_node for record in wrong})
            yield Finding(
                "data-corrupt-pair",
                f"{where([history])}: {sum(r.wrong_elements for r in wrong)} elements"
                f" from {listed(partners)} are not what was sent",
                "do not trust results from this allocation; leave the affected node"
                f" out: --exclude={history.node}",
                ranks_of([history]),
            )


def pair_timeouts(evidence: StepEvidence) -> Iterator[Finding]:
    """Two nodes did not respond to each other: not slow, but dead or cut off."""
    pairs = evidence.pairs
    timed_out = pairs.timed_out() if pairs else ()
    if pairs is None or not timed_out:
        return
    common = set(timed_out[0]).intersection(*timed_out) if len(timed_out) > 1 else set()
    nodes = sorted(common or {node for pair in timed_out for node in pair})
    names = listed([_names(pairs, pair) for pair in timed_out])
    yield Finding(
        "pair-timeout",
        f"{names} did not respond to each other in time; their speed is unknown",
        "check that the node and its network are up, and srun's messages about it;"
        f" without it: --exclude={','.join(pairs.nodes[node] for node in nodes)}",
        pairs.ranks_of(nodes),
    )


def pairs_slow(evidence: StepEvidence) -> Iterator[Finding]:
    """Nodes or links are slower than the rest, or all are slower than the network."""
    pairs = evidence.pairs
    if pairs is None:
        return
    if not pairs.outcomes:
        yield _only_node(pairs)
        return
    result = pairs.bandwidth
    if result.median_us is None:
        return
    findings = list(_cluster_wide_slowness(evidence, pairs, result))
    yield from findings
    if findings:
        return
    if len(pairs.nodes) == 2 and _expected_gb_per_s(evidence) is None:
        yield _two_nodes(pairs, result.median_us)
    for element in result.slow_elements:
        yield _slow(
            pairs, element, _describe_bandwidth(pairs, result.median_us, element)
        )
    latency = pairs.latency
    for element in latency.slow_elements:
        if latency.median_us and not _is_already_reported(element, result):
            yield _slow(pairs, element, _describe_latency(latency.median_us, element))
    if result.undecided:
        yield _undecided(pairs, result.undecided)


def _is_already_reported(element: SlowElement, result: SearchResult) -> bool:
    """Whether it, or a node of the link, is already reported as slow by bandwidth."""
    is_link_of_named = element.kind == LINK and not result.slow_nodes.isdisjoint(
        element.nodes
    )
    return is_link_of_named or element.nodes in {
        known.nodes for known in result.slow_elements
    }


def _only_node(pairs: PairResults) -> Finding:
    return Finding(
        "no-reference-pair",
        f"{listed(pairs.nodes)} is the only node: no pair of nodes was measured",
        "request three nodes or more: jax-sif job pairs --topology G12N3p12",
        is_failure=False,
    )


def _two_nodes(pairs: PairResults, median_us: float) -> Finding:
    return Finding(
        "no-reference-pair",
        f"{' and '.join(pairs.nodes)} exchange {pairs.gb_per_s(median_us):.3g} GB/s"
        " each way, and there is no third node to compare them with",
        "request three nodes or more, or compare with what the network should reach",
        is_warning=True,
    )


def _cluster_wide_slowness(
    evidence: StepEvidence, pairs: PairResults, result: SearchResult
) -> Iterator[Finding]:
    remedy = (
        "not a fault of single nodes: check what all have in common, such as NCCL's"
        " transport (NCCL_DEBUG=INFO shows it), NCCL_SOCKET_IFNAME, NCCL_IB_HCA"
    )
    measured = pairs.gb_per_s(result.median_us or 1.0)
    expected = _expected_gb_per_s(evidence)
    if result.is_cluster_wide:
        yield Finding(
            "cluster-wide-slowness",
            f"more than half of the {len(pairs.nodes)} nodes run below"
            f" {BANDWIDTH.fail_below:.2f} of the {measured:.3g} GB/s of some pairs",
            remedy,
        )
    elif expected and measured < BANDWIDTH.warn_below * expected:
        is_warning = measured >= BANDWIDTH.fail_below * expected
        yield Finding(
            "cluster-wide-slowness",
            f"the median pair exchanges {measured:.3g} GB/s each way,"
            f" {measured / expected:.2f} of the {expected:.3g} GB/s of a node's active"
            " network cards",
            remedy,
            is_warning=is_warning,
        )


def _expected_gb_per_s(evidence: StepEvidence) -> float | None:
    """The bandwidth of a node's active network cards, if the ranks reported it.

    Only for GPUs: CPU devices do not come near it.
    """
    cards = [
        sum(nic.gb_per_s for nic in record.nics if nic.is_active)
        for history in evidence.histories.values()
        if history.devices and history.devices.backend == "gpu"
        for record in history.measured(FabricRecord)
    ]
    return min(cards, default=0.0) or None


def _slow(pairs: PairResults, element: SlowElement, how: str) -> Finding:
    if element.kind == NODE:
        return _slow_node(pairs, element, how)
    is_link = element.kind == LINK
    name = _names(pairs, element.nodes) if is_link else _path_name(pairs, element)
    if is_link:
        last = pairs.nodes[element.nodes[-1]]
        remedy = (
            "both are fast with others: check the path between them (route, switch"
            f" port, cable); without it: --exclude={last}"
        )
    else:
        remedy = (
            "the nodes are fast below their own switch: check its uplinks; until then"
            " keep jobs below one switch: --switches=1"
        )
    return Finding(
        "link-slow",
        f"{name}: {how}",
        remedy,
        pairs.ranks_of(element.nodes),
        is_warning=not element.is_failure,
    )


def _slow_node(pairs: PairResults, element: SlowElement, how: str) -> Finding:
    node = pairs.nodes[element.nodes[0]]
    partners = [pairs.nodes[partner] for partner in element.partners]
    reason = f"jax-sif: {how.partition(' (')[0]} ({len(partners)} partners)"
    return Finding(
        "node-slow",
        f"{node}: {how}, with {listed(partners)}",
        f"leave it out: --exclude={node}\n"
        f"   -> its operators: scontrol update nodename={node} state=drain"
        f' reason="{reason}"',
        pairs.ranks_of(element.nodes),
        is_warning=not element.is_failure,
    )


def _describe_bandwidth(
    pairs: PairResults, median_us: float, element: SlowElement
) -> str:
    median = pairs.gb_per_s(median_us)
    return (
        f"{element.relative_speed:.2f} of the median pair bandwidth"
        f" ({element.relative_speed * median:.3g} of {median:.3g} GB/s)"
    )


def _describe_latency(median_us: float, element: SlowElement) -> str:
    return (
        f"{1 / element.relative_speed:.1f} times the median pair latency"
        f" ({median_us / element.relative_speed:.0f} instead of {median_us:.0f} us)"
    )


def _path_name(pairs: PairResults, element: SlowElement) -> str:
    count = f"{len(element.nodes)} nodes"
    if element.kind == SWITCH:
        return f"the uplink of {element.switches[0]}, by {count}"
    return f"the path between {' and '.join(element.switches)}, by {count}"


def _undecided(pairs: PairResults, undecided: Sequence[Pair]) -> Finding:
    nodes = sorted({node for pair in undecided for node in pair})
    return Finding(
        "pair-slow-ambiguous",
        f"{listed([_names(pairs, pair) for pair in undecided])} are slow, and the"
        " cause is not determined",
        "measure again, with more nodes or more --trials",
        pairs.ranks_of(nodes),
        is_warning=True,
    )


def _names(pairs: PairResults, nodes: Iterable[int]) -> str:
    return " and ".join(pairs.nodes[node] for node in nodes)
