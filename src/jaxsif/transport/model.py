"""The ways by which a node's ranks reach each other, as facts and in words; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.transport.nccl_log import NcclReport

_UNKNOWN = "unknown"

# What libfabric calls its providers, and what people call the network.
_PROVIDERS = {"cxi": ("slingshot", "Slingshot"), "efa": ("efa", "EFA")}


@dataclass(frozen=True)
class Transport:
    """What a rank found out, as its record tells it.

    `by` is the library that moves the data; `kind` the network between nodes or, where
    nothing leaves the node, the way within it; `interfaces` are cards or interfaces.
    `within` is the way between the node's own devices. `why` tells why no faster network
    was taken, as far as the library says so.
    """

    by: str
    kind: str
    words: str
    interfaces: tuple[str, ...] = ()
    count: int = 0
    gpudirect: bool | None = None
    within: str | None = None
    network: str | None = None
    version: str | None = None
    algorithms: tuple[str, ...] = ()
    why: tuple[str, ...] = ()


def unknown(by: str, reason: str) -> Transport:
    """Nobody could tell, and why."""
    return Transport(by, _UNKNOWN, f"not known: {reason}", why=(reason,))


def from_nccl(report: NcclReport, *, has_other_nodes: bool) -> Transport:
    """`has_other_nodes`: whether ranks of other nodes belong to the group."""
    if report.is_empty:
        return unknown("nccl", "NCCL's report names no way")
    within = _within(report)
    kind, words = _between(report, has_other_nodes=has_other_nodes)
    parts = [_WITHIN[within]] if within else []
    if words and words not in parts:
        parts.append(words)
    is_networked = kind not in (None, "nvlink")
    if is_networked and report.gpudirect:
        parts.append("GPUDirect")
    return Transport(
        by="nccl",
        kind=kind or within or _UNKNOWN,
        words=", ".join(parts) or "not known: NCCL's report names no way",
        interfaces=report.interfaces if is_networked else (),
        count=report.count if is_networked else 0,
        gpudirect=report.gpudirect if is_networked else None,
        within=within,
        network=report.network,
        version=report.version,
        algorithms=report.algorithms,
        why=report.complaints,
    )


_WITHIN = {
    "nvlink": "NVLink",
    "pcie": "PCIe between GPUs",
    "peer-to-peer": "peer-to-peer",
    "shared-memory": "shared memory",
}


def _within(report: NcclReport) -> str | None:
    """The best way that this process uses within its node.

    Peer-to-peer is over NVLink or PCIe, which only the topology tells apart.
    """
    if report.has_nvls or (report.has_p2p and report.has_nvlink):
        return "nvlink"
    if report.has_p2p:
        return "peer-to-peer" if report.has_nvlink is None else "pcie"
    return "shared-memory" if report.has_shared_memory else None


def _between(
    report: NcclReport, *, has_other_nodes: bool
) -> tuple[str | None, str | None]:
    """The kind of network, and its words; None where nothing goes through one.

    NCCL names a network also where it has no use for it.
    """
    if report.has_multi_node_nvlink and not report.has_net_channels:
        return "nvlink", "NVLink between nodes"
    is_used = report.has_net_channels or (has_other_nodes and report.nodes != 1)
    if report.network is None or not is_used:
        return None, None
    if report.network == "Socket":
        return "sockets", sockets_words(report.interfaces)
    kind, name = _network(report)
    return kind, f"{name} x{report.count}" if report.count else name


def _network(report: NcclReport) -> tuple[str, str]:
    if report.network is not None and report.network.startswith("IB"):
        is_roce = report.link == "RoCE"
        return ("roce", "RoCE") if is_roce else ("infiniband", "InfiniBand")
    if report.provider is not None:
        other = ("libfabric", f"libfabric's {report.provider}")
        return _PROVIDERS.get(report.provider, other)
    return "plugin", f"{report.network}"


def sockets_words(interfaces: Sequence[str]) -> str:
    """`sockets on eth0`"""
    return f"sockets on {', '.join(interfaces)}" if interfaces else "sockets"
