"""The expected bandwidth of hardware, from published values or from its links."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import msgspec
import tomllib

from jaxsif.core.records import FabricRecord, NicInfo, Reported
from jaxsif.core.topology import Topology

ETHERNET = "ethernet"

# Collectives whose rings load every link of a node as an all-reduce does.
_RINGS = ("all-reduce", "all-gather", "reduce-scatter")

# A ring reaches this share of the rate of NVLink (8 A100: 232 of 300 GB/s; 8 H100: 370
# of 450), and this share of that of the network cards (0.87 to 0.96 in hardware.toml).
_NVLINK_EFFICIENCY = 0.8
_NIC_EFFICIENCY = 0.9

# Tolerance for the sum of the cards: rates in the table are round numbers.
_RATE_TOLERANCE = 0.05


@dataclass(frozen=True)
class Expectation:
    """The expected busbw in GB/s, and its source.

    `least_gb_per_s`: the slowest healthy run, if several are known.
    """

    gb_per_s: float
    source: str
    least_gb_per_s: float = math.inf


@dataclass(frozen=True)
class NodeHardware:
    """One node's hardware, from its `fabric` record."""

    name: str
    gpu: str | None
    gpus: int
    nvlink_gb_per_s: float | None
    nics: tuple[NicInfo, ...]

    @property
    def compute_nics(self) -> tuple[NicInfo, ...]:
        """The cards that NCCL would use: of the fastest kind, at most one per GPU.

        Slower cards, and those beyond the number of GPUs, are for storage and logins.
        """
        fastest = max((nic.gb_per_s for nic in self.nics), default=0.0)
        # A card that is down may report a lower rate, or none.
        kinds = {nic.kind for nic in self.nics if nic.gb_per_s == fastest}
        able = [
            nic
            for nic in self.nics
            if nic.kind in kinds and (not nic.is_active or nic.gb_per_s >= fastest / 2)
        ]
        able.sort(key=lambda nic: (-nic.is_active, -nic.gb_per_s))
        return tuple(able[: max(self.gpus, 1)])

    @property
    def nics_gb_per_s(self) -> float:
        """The total rate of the active cards, in one direction."""
        return sum(nic.gb_per_s for nic in self.compute_nics if nic.is_active)


class PublishedBandwidth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of hardware.toml, which explains the fields."""

    gpu: str
    gpus_per_node: int
    nodes: Literal["1", "2", "more"]
    network: str
    collectives: tuple[str, ...]
    from_bytes: int
    bus_gb_per_s: float
    source: str
    nics_gb_per_s: float | None = None

    def matches(self, nodes: int, node: NodeHardware) -> bool:
        """Whether the row is for this number of nodes, and the node's active cards."""
        if self.nodes != ("more" if nodes > 2 else str(nodes)):
            return False
        rate = self.nics_gb_per_s
        return rate is None or abs(node.nics_gb_per_s - rate) <= _RATE_TOLERANCE * rate


class PublishedTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The published values, and the size from which the formula holds."""

    rule_from_bytes: int
    known: tuple[PublishedBandwidth, ...]


def nodes(ranks: Mapping[int, Reported]) -> list[NodeHardware]:
    """Every node that reported its hardware, by name; `ranks` by number."""
    found = {
        record.node: _node(record)
        for reported in ranks.values()
        for record in reported.measured(FabricRecord)
    }
    return [found[name] for name in sorted(found)]


def _node(record: FabricRecord) -> NodeHardware:
    return NodeHardware(
        record.node,
        record.gpu or None,
        record.gpus,
        record.nvlink_gb_per_s or None,
        tuple(record.nics),
    )


def hardware_name(found: Sequence[NodeHardware]) -> str:
    """The name in a baseline: GPU, and the kinds of its compute cards.

    Without their number: a node that has lost a card must keep the name, because no
    expected values are known for a new one.
    """
    gpus = sorted({node.gpu for node in found if node.gpu})
    kinds = sorted({nic.kind for node in found for nic in node.compute_nics})
    return ", ".join([" and ".join(gpus) or "cpu", *kinds])


def expected(
    collective: str, size_bytes: int, topology: Topology, found: Sequence[NodeHardware]
) -> Expectation | None:
    """The published value of this hardware, or else what follows from its links.

    None if there is neither: no GPUs, GPUs of several models, a collective without a
    rule, or a size at which the speed is not reached yet.
    """
    models = {node.gpu for node in found}
    if len(found) < topology.nodes or len(models) != 1 or None in models:
        return None
    # Of the best node, so that a node that has lost a card is below it.
    best = max(found, key=lambda node: node.nics_gb_per_s)
    known = _from_table(collective, size_bytes, topology, best)
    return known or _from_formula(collective, size_bytes, topology, found, best)


def _from_table(
    collective: str, size_bytes: int, topology: Topology, node: NodeHardware
) -> Expectation | None:
    found = [
        value
        for value in table().known
        if re.search(rf"\b{re.escape(value.gpu)}\b", node.gpu or "")
        and value.gpus_per_node == topology.devices_per_node
        and value.matches(topology.nodes, node)
        and collective in value.collectives
        and size_bytes >= value.from_bytes
    ]
    if not found:
        return None
    best = max(found, key=lambda value: value.from_bytes)
    return Expectation(
        best.bus_gb_per_s,
        f"{best.gpus_per_node} x {best.gpu}, {best.network}: {best.source}",
    )


def _from_formula(
    collective: str,
    size_bytes: int,
    topology: Topology,
    found: Sequence[NodeHardware],
    best: NodeHardware,
) -> Expectation | None:
    """min(NVLink, active cards of a node), each times the share that rings reach."""
    if collective not in _RINGS or size_bytes < table().rule_from_bytes:
        return None
    limits: list[tuple[float, str]] = []
    speeds = [node.nvlink_gb_per_s for node in found]
    if topology.devices_per_node > 1:
        if None in speeds:
            # PCIe, whose paths are not known here.
            return None
        nvlink = min(speed for speed in speeds if speed is not None)
        limits.append(
            (
                _NVLINK_EFFICIENCY * nvlink,
                f"{_NVLINK_EFFICIENCY:g} x NVLink {nvlink:g} GB/s",
            )
        )
    if topology.nodes > 1:
        if not best.nics_gb_per_s:
            return None
        # A job with some of a node's GPUs gets the cards near them.
        share = min(topology.devices_per_node / max(best.gpus, 1), 1.0)
        cards = best.nics_gb_per_s * share
        limits.append(
            (_NIC_EFFICIENCY * cards, f"{_NIC_EFFICIENCY:g} x network {cards:g} GB/s")
        )
    if not limits:
        return None
    value, formula = min(limits)
    return Expectation(value, f"no published value, computed: {formula}")


@functools.cache
def table() -> PublishedTable:
    """The published values of hardware.toml."""
    text = files("jaxsif.bandwidth").joinpath("hardware.toml").read_text()
    return msgspec.convert(tomllib.loads(text), PublishedTable)
