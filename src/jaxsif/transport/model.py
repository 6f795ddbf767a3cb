"""The transport that a rank uses, as fields and as text."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.transport.nccl_log import NcclReport

UNKNOWN = "unknown"

# libfabric's names of its providers, and the network's kind and common name.
_PROVIDERS = {"cxi": ("slingshot", "Slingshot"), "efa": ("efa", "EFA")}


@dataclass(frozen=True)
class Transport:
    """The transport that a rank detected; its fields are those of TransportRecord.

    `reported_by` is the library that moves the data; `kind` the network between nodes
    or, if nothing leaves the node, the transport within it. `intra_node` is the
    transport between the node's own devices, `inter_node` the library's name of the
    network.
    """

    reported_by: str
    kind: str
    summary: str
    interfaces: tuple[str, ...] = ()
    count: int = 0
    gpudirect: bool | None = None
    intra_node: str | None = None
    inter_node: str | None = None
    version: str | None = None
    algorithms: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def unknown(by: str, reason: str) -> Transport:
    """Return an unknown transport, with the reason."""
    return Transport(by, UNKNOWN, f"not known: {reason}", reasons=(reason,))


def from_nccl(report: NcclReport, *, has_other_nodes: bool) -> Transport:
    """Interpret a report; `has_other_nodes`: whether the group spans several nodes."""
    if report.is_empty:
        return unknown("nccl", "NCCL's report names no transport")
    intra_node = _intra_node(report)
    kind, network = _inter_node(report, has_other_nodes=has_other_nodes)
    parts = [_INTRA_NODE[intra_node]] if intra_node else []
    if network and network not in parts:
        parts.append(network)
    is_networked = kind not in (None, "nvlink")
    if is_networked and report.gpudirect:
        parts.append("GPUDirect")
    return Transport(
        reported_by="nccl",
        kind=kind or intra_node or UNKNOWN,
        summary=", ".join(parts) or "not known: NCCL's report names no transport",
        interfaces=report.interfaces if is_networked else (),
        count=report.count if is_networked else 0,
        gpudirect=report.gpudirect if is_networked else None,
        intra_node=intra_node,
        inter_node=report.network,
        version=report.version,
        algorithms=report.algorithms,
        reasons=report.fallback_reasons,
    )


_INTRA_NODE = {
    "nvlink": "NVLink",
    "xgmi": "Infinity Fabric",
    "pcie": "PCIe between GPUs",
    "peer-to-peer": "peer-to-peer",
    "shared-memory": "shared memory",
}


def _intra_node(report: NcclReport) -> str | None:
    """The best transport that this process uses within its node.

    Peer-to-peer is over NVLink, Infinity Fabric (AMD) or PCIe, which only the topology
    distinguishes.
    """
    if report.has_nvls or (report.has_p2p and report.has_nvlink):
        return "nvlink"
    if report.has_p2p and report.has_xgmi:
        return "xgmi"
    if report.has_p2p:
        return "peer-to-peer" if report.has_nvlink is None else "pcie"
    return "shared-memory" if report.has_shared_memory else None


def _inter_node(
    report: NcclReport, *, has_other_nodes: bool
) -> tuple[str | None, str | None]:
    """The kind of network, and its description; None if none is used.

    NCCL names a network even if it does not use it.
    """
    if report.has_multi_node_nvlink and not report.has_net_channels:
        return "nvlink", "NVLink between nodes"
    is_used = report.has_net_channels or (has_other_nodes and report.nodes != 1)
    if report.network is None or not is_used:
        return None, None
    if report.network == "Socket":
        return "sockets", format_sockets(report.interfaces)
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


def format_sockets(interfaces: Sequence[str]) -> str:
    """`sockets on eth0`"""
    return f"sockets on {', '.join(interfaces)}" if interfaces else "sockets"
