"""Hardware and software of the ranks, and their differences."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from jaxsif.core.records import FabricRecord, NicInfo, TransportRecord
from jaxsif.core.text import format_gb_per_s, format_ranges
from jaxsif.core.verdict_file import RankReport, StepVerdict

_PROPERTIES: tuple[tuple[str, Callable[[RankReport], str | None]], ...] = (
    ("image", lambda r: r.started.image if r.started else None),
    ("program's checksum", lambda r: r.started.program if r.started else None),
    ("JAX", lambda r: r.connected.jax if r.connected else None),
    ("jaxlib", lambda r: r.connected.jaxlib if r.connected else None),
    ("NCCL", lambda r: r.devices.nccl if r.devices else None),
    ("platform requested", lambda r: r.started.platform if r.started else None),
    ("platform", lambda r: r.devices.backend if r.devices else None),
    ("network declared", lambda r: r.started.network if r.started else None),
)


@dataclass(frozen=True)
class Fact:
    """A property, and the ranks or nodes that have it; empty means all."""

    name: str
    value: str
    holders: str = ""


def environment(verdict: StepVerdict) -> list[Fact]:
    """All properties in the records, one per value."""
    facts: list[Fact] = []
    for name, value_of in _PROPERTIES:
        by_value: dict[str, list[RankReport]] = defaultdict(list)
        for rank in verdict.ranks:
            if (value := value_of(rank)) is not None:
                by_value[value].append(rank)
        facts += _by_ranks(name, by_value)
    by_kind: dict[str, list[RankReport]] = defaultdict(list)
    for rank in verdict.ranks:
        by_kind[", ".join(_device_kinds(rank)) or "unknown"].append(rank)
    facts += _by_ranks("devices", by_kind)
    facts += _by_nodes("fabric", _fabrics(verdict))
    facts += _by_nodes("transport in use", _transports(verdict))
    return facts


def _device_kinds(rank: RankReport) -> list[str]:
    if rank.devices is None:
        return []
    kinds = [device.kind for device in rank.devices.local_devices]
    # A long list does not fit into a record; the missing devices are equal.
    if len(set(kinds)) == 1:
        return [f"{rank.devices.local_count} x {kinds[0]}"]
    return [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]


def _by_ranks(name: str, by_value: dict[str, list[RankReport]]) -> Iterator[Fact]:
    for value, ranks in by_value.items():
        holders = (
            ""
            if len(by_value) == 1
            else f"ranks {format_ranges(r.rank for r in ranks)}"
        )
        yield Fact(name, value, holders)


def _by_nodes(name: str, of_nodes: dict[str, str]) -> Iterator[Fact]:
    by_value: dict[str, list[str]] = defaultdict(list)
    for node, value in of_nodes.items():
        by_value[value].append(node)
    for value, nodes in by_value.items():
        yield Fact(name, value, "" if len(by_value) == 1 else ", ".join(nodes))


def _fabrics(verdict: StepVerdict) -> dict[str, str]:
    return {rank.node: _words(f) for rank, f in verdict.measured(FabricRecord)}


def _transports(verdict: StepVerdict) -> dict[str, str]:
    return {rank.node: t.summary for rank, t in verdict.measured(TransportRecord)}


def _words(fabric: FabricRecord) -> str:
    parts = [f"{fabric.gpus} x {fabric.gpu}" if fabric.gpu else "no GPU"]
    if fabric.nvlink_gb_per_s:
        parts.append(f"NVLink {format_gb_per_s(fabric.nvlink_gb_per_s)}")
    return ", ".join([*parts, *map(_nic, _active_first(fabric.nics))])


def _active_first(nics: Iterable[NicInfo]) -> list[NicInfo]:
    return sorted(nics, key=lambda nic: not nic.is_active)


def _nic(nic: NicInfo) -> str:
    speed = f" {format_gb_per_s(nic.gb_per_s)}" if nic.gb_per_s else ""
    return f"{nic.kind} {nic.name}{speed}{'' if nic.is_active else ' (not active)'}"
