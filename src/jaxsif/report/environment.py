"""Hardware and software of the ranks, and their differences."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jaxsif.core.text import format_gb_per_s, format_ranges
from jaxsif.report.document import Rank, Verdict
from jaxsif.report.measured import Fabric, Nic, Transport, told

_FACTS = (
    ("image", "started", "image"),
    ("program's checksum", "started", "program"),
    ("JAX", "connected", "jax"),
    ("jaxlib", "connected", "jaxlib"),
    ("NCCL", "devices", "nccl"),
    ("platform requested", "started", "platform"),
    ("platform", "devices", "backend"),
    ("network declared", "started", "network"),
)


@dataclass(frozen=True)
class Fact:
    """A property, and the ranks or nodes that have it; empty means all."""

    name: str
    value: str
    holders: str = ""


def environment(verdict: Verdict) -> list[Fact]:
    """All properties in the records, one per value."""
    facts: list[Fact] = []
    for name, phase, fact in _FACTS:
        by_value: dict[str, list[Rank]] = defaultdict(list)
        for rank in verdict.ranks:
            if (value := rank.fact(phase, fact)) is not None:
                by_value[str(value)].append(rank)
        facts += _by_ranks(name, by_value)
    by_kind: dict[str, list[Rank]] = defaultdict(list)
    for rank in verdict.ranks:
        by_kind[", ".join(_device_kinds(rank)) or "unknown"].append(rank)
    facts += _by_ranks("devices", by_kind)
    facts += _by_nodes("fabric", _fabrics(verdict))
    facts += _by_nodes("transport in use", _transports(verdict))
    return facts


def _device_kinds(rank: Rank) -> list[str]:
    local = rank.fact("devices", "local")
    devices = local if isinstance(local, list) else []
    kinds = [str(d.get("kind")) for d in devices if isinstance(d, dict)]
    count = rank.fact("devices", "local_count")
    # A long list does not fit into a record; the missing devices are equal.
    if isinstance(count, int) and len(set(kinds)) == 1:
        return [f"{count} x {kinds[0]}"]
    return [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]


def _by_ranks(name: str, by_value: dict[str, list[Rank]]) -> Iterator[Fact]:
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


def _fabrics(verdict: Verdict) -> dict[str, str]:
    return {r.node: _words(fabric) for r, fabric in told(verdict, "fabric", Fabric)}


def _transports(verdict: Verdict) -> dict[str, str]:
    return {r.node: t.words for r, t in told(verdict, "transport", Transport)}


def _words(fabric: Fabric) -> str:
    parts = [f"{fabric.gpus} x {fabric.gpu}" if fabric.gpu else "no GPU"]
    if fabric.nvlink_gb_per_s:
        parts.append(f"NVLink {format_gb_per_s(fabric.nvlink_gb_per_s)}")
    return ", ".join([*parts, *map(_nic, _active_first(fabric.nics))])


def _active_first(nics: Iterable[Nic]) -> list[Nic]:
    return sorted(nics, key=lambda nic: not nic.is_active)


def _nic(nic: Nic) -> str:
    speed = f" {format_gb_per_s(nic.gb_per_s)}" if nic.gb_per_s else ""
    return f"{nic.kind} {nic.name}{speed}{'' if nic.is_active else ' (not active)'}"
