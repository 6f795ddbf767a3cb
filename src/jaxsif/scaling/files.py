"""A scaling study as files: CSV with one row per run, and JSON."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jaxsif.core import strict_json
from jaxsif.scaling.conclusion import Summary
from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import Row, Run

SCHEMA = "jax-sif/scaling/1"
COLUMNS = (
    *("nodes", "devices", "run", "per_s", "unit", "speed_up", "efficiency"),
    "message",
)


def as_csv(rows: Sequence[Row]) -> str:
    """CSV (RFC 4180) with a header; missing values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        for number, run in enumerate(row.runs, 1):
            writer.writerow(
                [
                    *(run.nodes, run.devices, number),
                    *(run.per_s, run.unit, *_compared(row, run), run.message),
                ]
            )
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
