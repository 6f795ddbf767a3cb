"""Render a scaling study as a table, one line, CSV and JSON."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jaxsif.core import strict_json
from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.core.text import format_table
from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import TARGETS, WALL_TIME_UNIT, Row, Run

SCHEMA = "jax-sif/scaling/1"
SCALES, DOES_NOT_SCALE, MEASURED = "SCALES WELL", "SCALES POORLY", "MEASURED"
# If equal runs differ by more than this, smaller differences mean little.
_MAX_SPREAD = 1.25
# The last column is the rating.
_COLUMNS = ("nodes", "devices", "runs", "speed", "speed-up", "ideal", "efficiency", "")
_CSV_COLUMNS = (
    *("nodes", "devices", "run", "per_s", "unit", "speed_up", "efficiency"),
    "message",
)


@dataclass(frozen=True)
class Summary:
    """The result of a study.

    `status` is the exit status; a program that scales poorly is measured correctly, so
    its status is 0.
    """

    verdict: str
    text: str
    status: int


def summarize(study: Study, rows: Sequence[Row]) -> Summary:
    """Failed runs come first, then runs without a speed, then the efficiencies."""
    runs = [run for row in rows for run in row.runs]
    failed = sorted({run.nodes for run in runs if run.failed})
    if failed:
        text = f"{study.name}: a run on {format_node_counts(failed)} failed"
        return Summary("FAIL", text, FAIL)
    unknown = [row.nodes for row in rows if len(row.speed_ups) < len(row.runs)]
    if unknown:
        text = f"{study.name}: a run on {format_node_counts(unknown)} has no speed"
        return Summary("COULD NOT TELL", text, COULD_NOT_TELL)
    return Summary(*_scaling(study, rows[1:]), PASS)


def _scaling(study: Study, rows: Sequence[Row]) -> tuple[str, str]:
    """The verdict and its text, from all rows except that on the fewest nodes."""
    poor = [row for row in rows if row.is_good is False]
    good = [row for row in rows if row.is_good]
    if poor:
        well_on = format_node_counts([row.nodes for row in good]) if good else ""
        well = f"; well on {well_on}" if good else ""
        return DOES_NOT_SCALE, f"{study.name}: {', '.join(map(_describe, poor))}{well}"
    if good:
        return SCALES, f"{study.name}: {_describe(good[-1])}"
    most = TARGETS[-1][0]
    return MEASURED, (
        f"{study.name}: {_describe(rows[-1])}; no efficiency target is defined beyond"
        f" {most} nodes"
    )


def _describe(row: Row) -> str:
    target = row.target_efficiency
    mark = "" if target is None else f" ({percent(target)} is good)"
    return (
        f"{percent(row.efficiency)} of ideal on {format_node_counts([row.nodes])}{mark}"
    )


def text(study: Study, rows: Sequence[Row]) -> str:
    """The table with notes below it."""
    table = [head(rows), *map(cells, rows)]
    sides = ">" * (len(_COLUMNS) - 1) + "<"
    return "\n".join([title(study), *format_table(table, sides), *notes(rows)]) + "\n"


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
        if spread > _MAX_SPREAD:
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
    return tuple(unit if column == "speed" else column for column in _COLUMNS)


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


def as_csv(rows: Sequence[Row]) -> str:
    """CSV (RFC 4180) with a header; missing values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        for number, run in enumerate(row.runs, 1):
            run_fields = (run.nodes, run.devices, number, run.per_s, run.unit)
            writer.writerow((*run_fields, *_compared(row, run), run.message))
    return text.getvalue()


def as_json(study: Study, rows: Sequence[Row], summary: Summary) -> str:
    """The content of the table and the page; fields are only ever added."""
    content = {
        "schema": SCHEMA,
        **asdict(summary),
        "study": asdict(study),
        "rows": [_row(row) for row in rows],
    }
    return strict_json.encode(content)


def _row(row: Row) -> dict[str, Any]:
    return {
        **asdict(row),
        "speed_up": row.speed_up,
        "efficiency": row.efficiency,
        "is_good": row.is_good,
    }


def _compared(row: Row, run: Run) -> tuple[float | None, float | None]:
    """The run's speed-up and efficiency; None if its speed is not comparable."""
    speeds = [r for r in row.runs if r.per_s is not None and r.unit == row.unit]
    if run not in speeds:
        return None, None
    speed_up = row.speed_ups[speeds.index(run)]
    return speed_up, speed_up / row.ideal
