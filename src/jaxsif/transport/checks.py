"""Checks for an unused fast network, and for nodes with different transports."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from jaxsif.core.evidence import Check, Finding, StepEvidence
from jaxsif.core.history import RankHistory
from jaxsif.core.naming import ranks_of
from jaxsif.transport.results import Told, nodes, told

# By the name in job/networks: its common name, and the remedy if it is not used.
_NETWORKS = {"infiniband": "InfiniBand or RoCE", "slingshot": "Slingshot"}
_REMEDIES = {
    "infiniband": "see `jax-sif doctor` there: are the ports active, is libibverbs in the"
    " container, may /dev/infiniband be opened? With NCCL_NET=IB NCCL fails instead",
    "slingshot": "bind the site's libfabric and aws-ofi-nccl plugin into the container"
    " (docs/jobs.md); with NCCL_NET='AWS Libfabric' NCCL fails instead",
}
# Networks whose cards read and write memory without the kernel. Other plugins are
# unknown; libfabric without a card of its kind is TCP.
_FAST = ("infiniband", "roce", "slingshot", "efa")
_SLOW = ("sockets", "libfabric")


def network_not_used(case: StepEvidence) -> Iterator[Finding]:
    """NCCL did not use the fast network that the site declares."""
    by_what: dict[tuple[str, str, str], list[Told]] = defaultdict(list)
    for each in told(case.histories):
        declared = each.declared
        is_nccl = each.record.get("by") == "nccl"
        if declared in _NETWORKS and is_nccl and _is_fallback(declared, each.kind):
            by_what[declared, each.words, _reason(declared, each)].append(each)
    fast = [t for t in told(case.histories) if t.kind in _FAST]
    for (declared, words, reason), group in by_what.items():
        yield Finding(
            "network-not-used",
            f"{_use(group)} {words}{reason} though the cluster has"
            f" {_NETWORKS[declared]}{_others(fast)}",
            _REMEDIES[declared],
            _ranks_of(case, group),
        )


def _is_fallback(declared: str, kind: str) -> bool:
    return kind == "sockets" or (declared == "slingshot" and kind == "libfabric")


def _reason(declared: str, each: Told) -> str:
    """NCCL's first reason is about RDMA cards, its last about plugins."""
    if not each.why:
        return ""
    return f" ({each.why[-1 if declared == 'slingshot' else 0]})"


def _use(those: Sequence[Told]) -> str:
    return f"{nodes(those)} use{'' if len(those) > 1 else 's'}"


def _others(those: Sequence[Told]) -> str:
    """`, the 15 others InfiniBand x8`"""
    words = " or ".join(sorted({each.words for each in those}))
    return f", {_name(those)} {words}" if those else ""


def _name(those: Sequence[Told]) -> str:
    return f"the {len(those)} others" if len(those) > 1 else nodes(those)


def network_differs(case: StepEvidence) -> Iterator[Finding]:
    """Some nodes use sockets, others a fast network; declared by the site or not."""
    slow_nodes = _accused(case, network_not_used)
    known = [t for t in told(case.histories) if t.history.rank not in slow_nodes]
    fast = [t for t in known if t.kind in _FAST]
    for words, group in _by_words([t for t in known if t.kind in _SLOW]).items():
        if fast:
            yield Finding(
                "network-differs",
                f"{_use(group)} {words}{_why(group)}{_others(fast)}",
                "see `jax-sif doctor` there, and compare the node's RDMA cards with"
                " those of the others; leave it out with --exclude until then",
                _ranks_of(case, group),
            )


def _why(group: Sequence[Told]) -> str:
    return f" ({group[0].why[0]})" if group[0].why else ""


def nvlink_missing(case: StepEvidence) -> Iterator[Finding]:
    """The GPUs of a node do not use NVLink, while those of other nodes do."""
    within = [t for t in told(case.histories) if t.record.get("within") is not None]
    having = [t for t in within if t.record["within"] == "nvlink"]
    lacking = [t for t in within if t.record["within"] in ("pcie", "shared-memory")]
    if having and lacking:
        yield Finding(
            "nvlink-missing",
            f"{_use(lacking)} no NVLink between the GPUs ({lacking[0].words}),"
            f" {_name(having)} do",
            "see `nvidia-smi nvlink -s` there, and whether the fabric manager runs",
            _ranks_of(case, lacking),
            is_warning=True,
        )


def gpudirect_missing(case: StepEvidence) -> Iterator[Finding]:
    """A fast network is used without direct access to the GPUs' memory."""
    group = [
        t
        for t in told(case.histories)
        if t.kind in _FAST and t.record.get("gpudirect") is False
    ]
    if group:
        yield Finding(
            "gpudirect-missing",
            f"{_use(group)} {group[0].words} without GPUDirect RDMA: all data goes"
            " through the CPU's memory, at two thirds of the speed or less",
            "load nvidia_peermem on the nodes, or the open kernel modules (DMA-BUF); see"
            " that NCCL_NET_GDR_LEVEL does not forbid it",
            _ranks_of(case, group),
            is_warning=True,
        )


def transports_differ(case: StepEvidence) -> Iterator[Finding]:
    """Nodes use other transports than most, and no check above reports them."""
    slow_nodes = _accused(
        case, network_not_used, network_differs, nvlink_missing, gpudirect_missing
    )
    known = [
        t
        for t in told(case.histories)
        if t.is_known and t.history.rank not in slow_nodes
    ]
    by_words = _by_words(known)
    if len(by_words) < 2:
        return
    *few, (common, most) = sorted(by_words.items(), key=lambda item: len(item[1]))
    for words, group in few:
        yield Finding(
            "transport-differs",
            f"{_use(group)} {words}, {_name(most)} {common}",
            "compare the nodes' cards, interfaces and name resolution; the slowest sets"
            " the pace of all",
            _ranks_of(case, group),
            is_warning=True,
        )


def network_not_exercised(case: StepEvidence) -> Iterator[Finding]:
    """A run on CPU devices does not test the network for GPUs."""
    group = [
        t
        for t in told(case.histories)
        if t.declared in _NETWORKS and t.record.get("by") != "nccl"
    ]
    if group:
        network = _NETWORKS[group[0].declared]
        yield Finding(
            "network-not-exercised",
            f"{_use(group)} {group[0].words}, as CPU devices always do; the cluster's"
            f" {network} was not tried",
            "run it on GPUs, whose collectives go through NCCL",
            _ranks_of(case, group),
            is_warning=True,
        )


def transport_unknown(case: StepEvidence) -> Iterator[Finding]:
    """The site declares a fast network, and NCCL's report could not be read."""
    silent = [
        t
        for t in told(case.histories)
        if not t.is_known and t.record.get("by") == "nccl" and t.declared in _NETWORKS
    ]
    if silent:
        yield Finding(
            "transport-unknown",
            f"{nodes(silent)}: the network that was used is {silent[0].words}",
            "leave NCCL_DEBUG and NCCL_DEBUG_FILE unset, and the ranks read the report"
            " themselves",
            _ranks_of(case, silent),
            is_warning=True,
        )


def _by_words(those: Sequence[Told]) -> dict[str, list[Told]]:
    by_words: dict[str, list[Told]] = defaultdict(list)
    for each in those:
        by_words[each.words].append(each)
    return by_words


def _accused(case: StepEvidence, *checks: Check) -> set[int]:
    return {r for check in checks for finding in check(case) for r in finding.ranks}


def _ranks_of(case: StepEvidence, those: Sequence[Told]) -> tuple[int, ...]:
    """All ranks of the nodes: one rank reports for its node."""
    names = {each.history.node for each in those}
    group: list[RankHistory] = [s for s in case.histories.values() if s.node in names]
    return ranks_of(group)
