"""Checks for an unused fast network, and for nodes with different transports."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxsif.core.evidence import Check, Finding, StepEvidence, ranks_of
from jaxsif.core.history import Histories, RankHistory
from jaxsif.core.records import TransportRecord
from jaxsif.core.text import MAX_NODES_IN_LINE, listed
from jaxsif.transport.model import UNKNOWN

# By the name in job/networks: its common name, and the remedy if it is not used.
_NETWORKS = {"infiniband": "InfiniBand or RoCE", "slingshot": "Slingshot"}
_REMEDIES = {
    "infiniband": "see `jax-sif doctor` there: are the ports active, is libibverbs in"
    " the container, may /dev/infiniband be opened? With NCCL_NET=IB NCCL fails"
    " instead",
    "slingshot": "bind the site's libfabric and aws-ofi-nccl plugin into the container"
    " (docs/jobs.md); with NCCL_NET='AWS Libfabric' NCCL fails instead",
}
# Networks whose cards read and write memory without the kernel. Other plugins are
# unknown; libfabric without a card of its kind is TCP.
_FAST = ("infiniband", "roce", "slingshot", "efa")
_SLOW = ("sockets", "libfabric")


@dataclass(frozen=True)
class NodeTransport:
    """The transport of one node, reported by one of its ranks."""

    history: RankHistory
    record: TransportRecord

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def text(self) -> str:
        return self.record.summary

    @property
    def is_known(self) -> bool:
        return self.kind != UNKNOWN

    @property
    def reasons(self) -> list[str]:
        """The library's reasons for not using a faster network."""
        return self.record.reasons

    @property
    def expected_network(self) -> str | None:
        """The network that the site declares."""
        return self.history.started.network if self.history.started else None


def node_transports(histories: Histories) -> list[NodeTransport]:
    """The last record of each node, in the order of ranks."""
    by_node: dict[str, NodeTransport] = {}
    for history in histories.values():
        for record in history.measured(TransportRecord):
            by_node[history.node] = NodeTransport(history, record)
    return list(by_node.values())


def summary(histories: Histories) -> str | None:
    """`transport: NVLink, InfiniBand x8`; None if nodes differ or none reported."""
    texts = {transport.text for transport in node_transports(histories)}
    return f"transport: {texts.pop()}" if len(texts) == 1 else None


def node_names(transports: Sequence[NodeTransport]) -> str:
    """`node1`, `node1, node2`, `node1, node2, node3, node4 and 12 more nodes`."""
    names = (transport.history.node for transport in transports)
    return listed(names, MAX_NODES_IN_LINE, "node")


def network_not_used(evidence: StepEvidence) -> Iterator[Finding]:
    """NCCL did not use the fast network that the site declares."""
    by_cause: dict[tuple[str, str, str], list[NodeTransport]] = defaultdict(list)
    for transport in node_transports(evidence.histories):
        declared = transport.expected_network
        is_nccl = transport.record.reported_by == "nccl"
        if declared in _NETWORKS and is_nccl and _is_fallback(declared, transport.kind):
            by_cause[declared, transport.text, _reason(declared, transport)].append(
                transport
            )
    fast = [t for t in node_transports(evidence.histories) if t.kind in _FAST]
    for (declared, text, reason), group in by_cause.items():
        yield Finding(
            "network-not-used",
            f"{_uses(group)} {text}{reason} though the cluster has"
            f" {_NETWORKS[declared]}{_describe_peers(fast)}",
            _REMEDIES[declared],
            _ranks_of(evidence, group),
        )


def _is_fallback(declared: str, kind: str) -> bool:
    return kind == "sockets" or (declared == "slingshot" and kind == "libfabric")


def _reason(declared: str, transport: NodeTransport) -> str:
    """NCCL's first reason is about RDMA cards, its last about plugins."""
    if not transport.reasons:
        return ""
    return f" ({transport.reasons[-1 if declared == 'slingshot' else 0]})"


def _uses(transports: Sequence[NodeTransport]) -> str:
    return f"{node_names(transports)} use{'' if len(transports) > 1 else 's'}"


def _describe_peers(transports: Sequence[NodeTransport]) -> str:
    """`, the 15 others InfiniBand x8`"""
    text = " or ".join(sorted({transport.text for transport in transports}))
    return f", {_describe(transports)} {text}" if transports else ""


def _describe(transports: Sequence[NodeTransport]) -> str:
    return (
        f"the {len(transports)} others"
        if len(transports) > 1
        else node_names(transports)
    )


def network_differs(evidence: StepEvidence) -> Iterator[Finding]:
    """Some nodes use sockets, others a fast network; declared by the site or not."""
    reported = _implicated_ranks(evidence, network_not_used)
    known = [
        t for t in node_transports(evidence.histories) if t.history.rank not in reported
    ]
    fast = [t for t in known if t.kind in _FAST]
    for text, group in _by_text([t for t in known if t.kind in _SLOW]).items():
        if fast:
            yield Finding(
                "network-differs",
                f"{_uses(group)} {text}{_format_reason(group)}{_describe_peers(fast)}",
                "see `jax-sif doctor` there, and compare the node's RDMA cards with"
                " those of the others; leave it out with --exclude until then",
                _ranks_of(evidence, group),
            )


def _format_reason(group: Sequence[NodeTransport]) -> str:
    return f" ({group[0].reasons[0]})" if group[0].reasons else ""


def nvlink_missing(evidence: StepEvidence) -> Iterator[Finding]:
    """The GPUs of a node do not use NVLink, while those of other nodes do."""
    within = [
        t
        for t in node_transports(evidence.histories)
        if t.record.intra_node is not None
    ]
    connected = [t for t in within if t.record.intra_node == "nvlink"]
    lacking = [t for t in within if t.record.intra_node in ("pcie", "shared-memory")]
    if connected and lacking:
        yield Finding(
            "nvlink-missing",
            f"{_uses(lacking)} no NVLink between the GPUs ({lacking[0].text}),"
            f" {_describe(connected)} do",
            "see `nvidia-smi nvlink -s` there, and whether the fabric manager runs",
            _ranks_of(evidence, lacking),
            is_warning=True,
        )


def gpudirect_missing(evidence: StepEvidence) -> Iterator[Finding]:
    """A fast network is used without direct access to the GPUs' memory."""
    group = [
        t
        for t in node_transports(evidence.histories)
        if t.kind in _FAST and t.record.gpudirect is False
    ]
    if group:
        yield Finding(
            "gpudirect-missing",
            f"{_uses(group)} {group[0].text} without GPUDirect RDMA: all data goes"
            " through the CPU's memory, at two thirds of the speed or less",
            "load nvidia_peermem on the nodes, or the open kernel modules (DMA-BUF);"
            " check that NCCL_NET_GDR_LEVEL does not forbid it",
            _ranks_of(evidence, group),
            is_warning=True,
        )


def transports_differ(evidence: StepEvidence) -> Iterator[Finding]:
    """Nodes use other transports than most, and no check above reports them."""
    reported = _implicated_ranks(
        evidence, network_not_used, network_differs, nvlink_missing, gpudirect_missing
    )
    known = [
        t
        for t in node_transports(evidence.histories)
        if t.is_known and t.history.rank not in reported
    ]
    by_text = _by_text(known)
    if len(by_text) < 2:
        return
    *rare, (common, majority) = sorted(by_text.items(), key=lambda item: len(item[1]))
    for text, group in rare:
        yield Finding(
            "transport-differs",
            f"{_uses(group)} {text}, {_describe(majority)} {common}",
            "compare the nodes' cards, interfaces and name resolution; the slowest sets"
            " the pace of all",
            _ranks_of(evidence, group),
            is_warning=True,
        )


def network_not_exercised(evidence: StepEvidence) -> Iterator[Finding]:
    """A run on CPU devices does not test the network for GPUs."""
    group = [
        t
        for t in node_transports(evidence.histories)
        if t.expected_network in _NETWORKS and t.record.reported_by != "nccl"
    ]
    if group:
        network = _NETWORKS[str(group[0].expected_network)]
        yield Finding(
            "network-not-exercised",
            f"{_uses(group)} {group[0].text}, as CPU devices always do; the cluster's"
            f" {network} was not tried",
            "run it on GPUs, whose collectives go through NCCL",
            _ranks_of(evidence, group),
            is_warning=True,
        )


def transport_unknown(evidence: StepEvidence) -> Iterator[Finding]:
    """The site declares a fast network, and NCCL's report could not be read."""
    unread = [
        t
        for t in node_transports(evidence.histories)
        if not t.is_known
        and t.record.reported_by == "nccl"
        and t.expected_network in _NETWORKS
    ]
    if unread:
        yield Finding(
            "transport-unknown",
            f"{node_names(unread)}: the network that was used is {unread[0].text}",
            "leave NCCL_DEBUG and NCCL_DEBUG_FILE unset, and the ranks read the report"
            " themselves",
            _ranks_of(evidence, unread),
            is_warning=True,
        )


def _by_text(transports: Sequence[NodeTransport]) -> dict[str, list[NodeTransport]]:
    by_text: dict[str, list[NodeTransport]] = defaultdict(list)
    for transport in transports:
        by_text[transport.text].append(transport)
    return by_text


def _implicated_ranks(evidence: StepEvidence, *checks: Check) -> set[int]:
    return {r for check in checks for finding in check(evidence) for r in finding.ranks}


def _ranks_of(
    evidence: StepEvidence, transports: Sequence[NodeTransport]
) -> tuple[int, ...]:
    """All ranks of the nodes: one rank reports for its node."""
    names = {transport.history.node for transport in transports}
    return ranks_of([h for h in evidence.histories.values() if h.node in names])
