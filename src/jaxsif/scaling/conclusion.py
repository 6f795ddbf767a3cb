"""Summarizes a scaling study in one line: whether the program scales."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import TARGETS, Row
from jaxsif.scaling.table import format_node_counts, percent

SCALES, DOES_NOT_SCALE, MEASURED = "SCALES WELL", "SCALES POORLY", "MEASURED"


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
        well = (
            f"; well on {format_node_counts([row.nodes for row in good])}"
            if good
            else ""
        )
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
