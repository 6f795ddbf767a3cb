"""Shows a scaling study to people, as a table; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import WALL, Row


def text(study: Study, rows: Sequence[Row]) -> str:
    """The table, and below it what has no speed."""
    unit = next((row.run.unit for row in rows if row.run.per_s is not None), "")
    head = ("nodes", "devices", f"{unit}/s", "speed-up", "ideal", "efficiency", "")
    table = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [title(study)]
    for row in table:
        numbers = zip(row[:-1], widths, strict=False)
        cells = [f"{cell:>{width}}" for cell, width in numbers]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    lines += [
        f"{row.run.nodes} nodes: {row.run.said}"
        for row in rows
        if row.run.per_s is None
    ]
    if unit == WALL:
        lines.append(
            "The times are those of whole runs, compilation included: the program does"
            " not tell its speed (jaxsif.report_speed)."
        )
    return "\n".join(lines) + "\n"


def title(study: Study) -> str:
    """`train.py, strong scaling: the same work on more nodes`"""
    if study.is_weak:
        grows = " and ".join(name.lstrip("-") for name in study.grows)
        return f"{study.name}, weak scaling: more {grows} on more nodes"
    return f"{study.name}, strong scaling: the same work on more nodes"


def _cells(row: Row) -> tuple[str, ...]:
    run = row.run
    numbers = (str(run.nodes), str(run.devices or "-"))
    if run.per_s is None or row.speed_up is None or row.efficiency is None:
        return (*numbers, "-", "-", f"{row.ideal:.2f}", "-", "")
    return (
        *numbers,
        f"{run.per_s:,.4g}" if run.per_s < 1000 else f"{run.per_s:,.0f}",
        f"{row.speed_up:.2f}",
        f"{row.ideal:.2f}",
        f"{row.efficiency:.0%}",
        _mark(row),
    )


def _mark(row: Row) -> str:
    if row.is_good is None or row.ideal == 1:
        return ""
    return f"{'good' if row.is_good else 'poor'}, by {row.good:.0%}"
