"""Checks for slow nodes and links, and for pairs whose data was wrong or missing."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from jaxsif.core.evidence import Finding, StepEvidence
from jaxsif.core.naming import ranks_of, where
from jaxsif.pairs.model import (
    BANDWIDTH,
    LINK,
    NODE,
    SWITCH,
    Pair,
    SearchResult,
    SlowElement,
)
from jaxsif.pairs.results import Pairs, pairs_of

_MAX_NAMED = 4


def corrupt_exchanges(case: StepEvidence) -> Iterator[Finding]:
    """The received data differ from the data sent."""
    for history in case.histories.values():
        wrong = [r for r in history.measured if r["phase"] == "pair" and r.get("wrong")]
        if wrong:
            partners = sorted({str(record["partner_node"]) for record in wrong})
            yield Finding(
                "data-corrupt-pair",
                f"{where([history])}: {sum(r['wrong'] for r in wrong)} elements from"
                f" {_some(partners)} are not what was sent",
                "do not trust results from this allocation; leave the affected node out:"
                f" --exclude={history.node}",
                ranks_of([history]),
            )


def pair_timeouts(case: StepEvidence) -> Iterator[Finding]:
    """Two nodes did not respond to each other: not slow, but dead or cut off."""
    pairs = _pairs(case)
    silent = pairs.silent() if pairs else ()
    if pairs is None or not silent:
        return
    common = set(silent[0]).intersection(*silent) if len(silent) > 1 else set()
    nodes = sorted(common or {node for pair in silent for node in pair})
    names = _some([_names(pairs, pair) for pair in silent])
    yield Finding(
        "pair-timeout",
        f"{names} did not respond to each other in time; their speed is unknown",
        "check that the node and its network are up, and srun's messages about it;"
        f" without it: --exclude={','.join(pairs.nodes[node] for node in nodes)}",
        pairs.ranks_of(nodes),
    )


def pairs_slow(case: StepEvidence) -> Iterator[Finding]:
    """Nodes or links are slower than the rest, or all are slower than the network."""
    pairs = _pairs(case)
    if pairs is None:
        return
    if not pairs.outcomes:
        yield _only_node(pairs)
        return
    sight = pairs.bandwidth()
    if sight.median_us is None:
        return
    everybody = list(_everybody_slow(case, pairs, sight))
    yield from everybody
    if everybody:
        return
    if len(pairs.nodes) == 2 and _expected_gb_per_s(case) is None:
        yield _two_nodes(pairs, sight.median_us)
    for blame in sight.blames:
        yield _slow(pairs, blame, _of_bandwidth(pairs, sight.median_us, blame))
    of_small = pairs.latency()
    for blame in of_small.blames:
        if of_small.median_us and not _is_told(blame, sight):
            yield _slow(pairs, blame, _of_latency(of_small.median_us, blame))
    if sight.undecided:
        yield _undecided(pairs, sight.undecided)


def _is_told(blame: SlowElement, sight: SearchResult) -> bool:
    """Whether it, or a node of the link, is already reported as slow by bandwidth."""
    is_link_of_named = blame.kind == LINK and not sight.slow_nodes.isdisjoint(blame.who)
    return is_link_of_named or blame.who in {known.who for known in sight.blames}


def _pairs(case: StepEvidence) -> Pairs | None:
    return pairs_of(case.histories, case.topology.devices_per_node)


def _only_node(pairs: Pairs) -> Finding:
    return Finding(
        "no-reference-pair",
        f"{_some(pairs.nodes)} is the only node: no pair of nodes was measured",
        "request three nodes or more: jax-sif job pairs --topology G12N3p12",
        is_failure=False,
    )


def _two_nodes(pairs: Pairs, median_us: float) -> Finding:
    return Finding(
        "no-reference-pair",
        f"{' and '.join(pairs.nodes)} exchange {pairs.gb_per_s(median_us):.3g} GB/s each"
        " way, and there is no third node to compare them with",
        "request three nodes or more, or compare with what the network should reach",
        is_warning=True,
    )


def _everybody_slow(
    case: StepEvidence, pairs: Pairs, sight: SearchResult
) -> Iterator[Finding]:
    remedy = (
        "not a fault of single nodes: check what all have in common, such as NCCL's"
        " transport (NCCL_DEBUG=INFO shows it), NCCL_SOCKET_IFNAME, NCCL_IB_HCA"
    )
    got = pairs.gb_per_s(sight.median_us or 1.0)
    expected = _expected_gb_per_s(case)
    if sight.is_widespread:
        yield Finding(
            "cluster-wide-slowness",
            f"more than half of the {len(pairs.nodes)} nodes run below"
            f" {BANDWIDTH.fails:.2f} of the {got:.3g} GB/s that some pairs have",
            remedy,
        )
    elif expected and got < BANDWIDTH.passes * expected:
        is_warning = got >= BANDWIDTH.fails * expected
        yield Finding(
            "cluster-wide-slowness",
            f"the median pair exchanges {got:.3g} GB/s each way, {got / expected:.2f} of"
            f" the {expected:.3g} GB/s of a node's active network cards",
            remedy,
            is_warning=is_warning,
        )


def _expected_gb_per_s(case: StepEvidence) -> float | None:
    """The bandwidth of a node's active network cards, if the ranks reported it.

    Only for GPUs: CPU devices do not come near it.
    """
    cards = [
        sum(nic["gb_per_s"] for nic in record["nics"] if nic["is_active"])
        for history in case.histories.values()
        if history.fact("devices", "backend") == "gpu"
        for record in history.measured
        if record["phase"] == "fabric"
    ]
    return min(cards, default=0.0) or None


def _slow(pairs: Pairs, blame: SlowElement, how: str) -> Finding:
    if blame.kind == NODE:
        return _slow_node(pairs, blame, how)
    is_link = blame.kind == LINK
    what = _names(pairs, blame.who) if is_link else _way(pairs, blame)
    if is_link:
        last = pairs.nodes[blame.who[-1]]
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
        f"{what}: {how}",
        remedy,
        pairs.ranks_of(blame.who),
        is_warning=not blame.is_failure,
    )


def _slow_node(pairs: Pairs, blame: SlowElement, how: str) -> Finding:
    node = pairs.nodes[blame.who[0]]
    partners = [pairs.nodes[partner] for partner in blame.partners]
    reason = f"jax-sif: {how.partition(' (')[0]} ({len(partners)} partners)"
    return Finding(
        "node-slow",
        f"{node}: {how}, with {_some(partners)}",
        f"leave it out: --exclude={node}\n"
        f'   -> its operators: scontrol update nodename={node} state=drain reason="{reason}"',
        pairs.ranks_of(blame.who),
        is_warning=not blame.is_failure,
    )


def _of_bandwidth(pairs: Pairs, median_us: float, blame: SlowElement) -> str:
    usual = pairs.gb_per_s(median_us)
    return (
        f"{blame.speed:.2f} of the median pair bandwidth"
        f" ({blame.speed * usual:.3g} of {usual:.3g} GB/s)"
    )


def _of_latency(median_us: float, blame: SlowElement) -> str:
    return (
        f"{1 / blame.speed:.1f} times the median pair latency"
        f" ({median_us / blame.speed:.0f} instead of {median_us:.0f} us)"
    )


def _way(pairs: Pairs, blame: SlowElement) -> str:
    count = f"{len(blame.who)} nodes"
    if blame.kind == SWITCH:
        return f"the uplink of {blame.places[0]}, by {count}"
    return f"the path between {' and '.join(blame.places)}, by {count}"


def _undecided(pairs: Pairs, undecided: Sequence[Pair]) -> Finding:
    nodes = sorted({node for pair in undecided for node in pair})
    return Finding(
        "pair-slow-ambiguous",
        f"{_some([_names(pairs, pair) for pair in undecided])} are slow, and the"
        " cause is not determined",
        "measure again, with more nodes or more --trials",
        pairs.ranks_of(nodes),
        is_warning=True,
    )


def _names(pairs: Pairs, nodes: Iterable[int]) -> str:
    return " and ".join(pairs.nodes[node] for node in nodes)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
