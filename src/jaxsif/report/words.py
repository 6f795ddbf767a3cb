"""Formats numbers, sizes and ranks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

from jaxsif.core.text import format_ranges

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
# Maximum number of nodes in a line.
_MAX_NODES = 24


def size(size_bytes: int) -> str:
    """`64 MiB`; with one decimal if it is not a whole number."""
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return (
        f"{value:.10g} {_UNITS[unit]}"
        if value % 1 == 0
        else f"{value:.1f} {_UNITS[unit]}"
    )


def gb_per_s(value: float) -> str:
    """`12.3 GB/s`, with three significant digits; GB is 1e9 bytes."""
    return f"{significant(value)} GB/s"


def significant(value: float) -> str:
    """Three significant digits; an exponent only for very small numbers."""
    if abs(value) < 1e-3:
        return f"{value:.3g}"
    digits = max(0, 3 - len(str(int(abs(value))))) if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def seconds(value: float) -> str:
    return f"{significant(value)} s"


def moment(time_s: float) -> str:
    """`2026-01-02 03:04:05 UTC`"""
    when = datetime.fromtimestamp(time_s, timezone.utc)
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def where(ranks: Iterable[int], node_of: Mapping[int, str]) -> str:
    """`node1 (ranks 0-3), node2 (rank 4)`; empty without ranks."""
    by_node: dict[str, list[int]] = {}
    for rank in ranks:
        by_node.setdefault(node_of[rank], []).append(rank)
    named = [
        f"{node} (rank{'s' if len(of_node) > 1 else ''} {format_ranges(of_node)})"
        for node, of_node in list(by_node.items())[:_MAX_NODES]
    ]
    if len(by_node) > _MAX_NODES:
        named.append(f"{len(by_node) - _MAX_NODES:,} more nodes")
    return ", ".join(named)


def plural(count: int, noun: str, ending: str = "s") -> str:
    """`1 node`, `2 nodes`"""
    return f"{count:,} {noun}{'' if count == 1 else ending}"
