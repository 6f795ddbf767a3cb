"""A scaling study as a text table."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import WALL_TIME_UNIT, Row

# If equal runs differ by more than this, smaller differences mean little.
_MOST_SPREAD = 1.25
# The last column is the rating.
COLUMNS = ("nodes", "devices", "runs", "speed", "speed-up", "ideal", "efficiency", "")


def text(study: Study, rows: Sequence[Row]) -> str:
    """The table with notes below it."""
    table = [head(rows), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [title(study)]
    for row in table:
        numbers = zip(row[:-1], widths, strict=False)
        right = [f"{cell:>{width}}" for cell, width in numbers]
        lines.append("  ".join([*right, row[-1]]).rstrip())
    return "\n".join([*lines, *notes(rows)]) + "\n"


def title(study: Study) -> str:
    """`train, strong scaling: the same work on more nodes`"""
    if study.is_weak:
        names = " and ".join(name.lstrip("-") for name in study.weak_arguments)
        return f"{study.name}, weak scaling: more {names} on more nodes"
    return f"{study.name}, strong scaling: the same work on more nodes"


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """Notes on missing speeds, on the spread of runs, and on wall times."""
    unit = rows[0].unit
    for row in rows:
        name = format_node_counts([row.nodes])
        for run in row.runs:
            if run.per_s is None:
                yield f"{name}: {run.message}"
            elif run.unit != unit:
                yield f"{name}: reports {run.unit}, other runs report {unit}"
        spread = max(row.speed_ups) / min(row.speed_ups) if row.speed_ups else 1.0
        if spread > _MOST_SPREAD:
            yield (
                f"{name}: the fastest run is {spread:.1f} times as fast as the slowest;"
                " repeat it (--repeat), or run it when the cluster is less busy"
            )
    if unit == WALL_TIME_UNIT:
        yield (
            "The times are those of whole runs, compilation included: the program does"
            " not report its speed (jaxsif.report_speed)."
        )


def head(rows: Sequence[Row]) -> tuple[str, ...]:
    """The column titles, with the unit as that of the speed."""
    unit = f"{rows[0].unit}/s" if rows[0].unit else "speed"
    return tuple(unit if column == "speed" else column for column in COLUMNS)


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row."""
    known = sum(run.per_s is not None for run in row.runs)
    runs = f"{known}" if known == len(row.runs) else f"{known} of {len(row.runs)}"
    counts = (str(row.nodes), str(row.devices or "-"), runs)
    if row.per_s is None or row.speed_up is None or row.efficiency is None:
        return (*counts, "-", "-", f"{row.ideal:.2f}", "-", "")
    return (
        *counts,
        speed(row.per_s),
        f"{row.speed_up:.2f}",
        f"{row.ideal:.2f}",
        percent(row.efficiency),
        _rating(row),
    )


def format_node_counts(counts: Sequence[int]) -> str:
    """`1 node`, `2 and 4 nodes`"""
    ending = "" if counts[-1] == 1 else "s"
    return f"{' and '.join(map(str, counts))} node{ending}"


def speed(per_s: float) -> str:
    """Four significant digits, or all digits before the point."""
    return f"{per_s:,.4g}" if per_s < 1000 else f"{per_s:,.0f}"


def percent(value: float | None) -> str:
    """Rounded down, so that a missed target is never shown as met."""
    return "-" if value is None else f"{math.floor(value * 100 + 1e-6)}%"


def _rating(row: Row) -> str:
    if row.is_good is None or row.ideal == 1:
        return ""
    return f"{'good' if row.is_good else 'poor'}, by {percent(row.target_efficiency)}"
