"""Format what users read: counts, lists, sizes, times, tables and untrusted text."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

# What is shown of a long list: names in a sentence, nodes in the last line of a verdict
# or in a row of a report, findings, and rows of a table.
MAX_NAMED = 8
MAX_NODES_IN_LINE = 4
MAX_NODES_IN_REPORT = 24
MAX_FINDINGS = 12
MAX_ROWS = 64
# The longest quotation of a value in an error, and of a line of a log.
MAX_VALUE_CHARS = 80
MAX_QUOTE_CHARS = 200

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def plural(count: int, noun: str, ending: str = "s") -> str:
    """`1 node`, `2 nodes`, `1,024 nodes`."""
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def listed(
    names: Iterable[str], limit: int = MAX_NAMED, noun: str = "", between: str = ", "
) -> str:
    """`a, b`; of many the first `limit`: `a, b and 3 more`, or `and 3 more nodes`."""
    names = list(names)
    text = between.join(names[:limit])
    more = len(names) - limit
    if more <= 0:
        return text
    return f"{text} and {plural(more, f'more {noun}') if noun else f'{more:,} more'}"


def not_shown(shown: int, total: int, noun: str) -> list[str]:
    """The end of a shortened list, `... and 3 more ranks`; none if it is whole."""
    more = total - shown
    return [f"... and {plural(more, f'more {noun}')}"] if more > 0 else []


def format_ranges(numbers: Iterable[int], limit: int | None = MAX_NAMED) -> str:
    """`0-3, 7`, each number once; `..., ...` after the first `limit` ranges."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    named = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:limit]]
    return ", ".join(named) + (", ..." if len(runs) > len(named) else "")


def format_ranks(numbers: Iterable[int]) -> str:
    """`rank 3`, `ranks 0-3, 7`."""
    numbers = set(numbers)
    return f"rank{'' if len(numbers) == 1 else 's'} {format_ranges(numbers)}"


def format_ranks_and_nodes(
    placed: Iterable[tuple[int, str]], limit: int = MAX_NAMED
) -> str:
    """`rank 5 on node2`, `ranks 0-3 on node1, 4-7 on node2`.

    Args:
      placed: ranks with the names of their nodes; an empty name is an unknown node.
      limit: the number of nodes that are named.
    """
    by_node: dict[str, list[int]] = {}
    for rank, node in placed:
        by_node.setdefault(node, []).append(rank)
    places = [
        f"{format_ranges(group)} on {node}" if node else format_ranges(group)
        for node, group in by_node.items()
    ]
    if not places:
        return ""
    count = sum(map(len, by_node.values()))
    return f"rank{'' if count == 1 else 's'} {listed(places, limit, 'node')}"


def format_size(size_bytes: float) -> str:
    """`64 MiB`, `1.5 GiB`, `24 B`; at most four significant digits."""
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.4g} {_UNITS[unit]}"


def format_significant(value: float) -> str:
    """Three significant digits; an exponent only for very small numbers."""
    if abs(value) < 1e-3:
        return f"{value:.3g}"
    digits = max(0, 3 - len(str(int(abs(value))))) if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def format_gb_per_s(value: float) -> str:
    """`12.3 GB/s`, with three significant digits; GB is 1e9 bytes."""
    return f"{format_significant(value)} GB/s"


def format_seconds(value: float) -> str:
    """`12.3 s`, with three significant digits."""
    return f"{format_significant(value)} s"


def format_time(time_s: float) -> str:
    """`2026-01-02 03:04:05 UTC`, of seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))


def format_table(rows: Sequence[Sequence[str]], sides: str = "") -> list[str]:
    """Rows of equal length as aligned lines, two spaces between the columns.

    Args:
      sides: for each column `<` or `>`, where its cells are; without it, all left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = sides or "<" * len(widths)
    return [
        "  ".join(
            f"{cell:{side}{width}}"
            for cell, side, width in zip(row, sides, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def shortened(text: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """The text, or its beginning and `...`, in at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def quoted(text: str) -> str:
    """A value for an error: in quotes, on one line, and shortened."""
    return repr(shortened(text, MAX_VALUE_CHARS))


def printable(text: str) -> str:
    """One line without control characters: a terminal must not obey what it shows."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
