"""Says in a line whether a program scales, from its study; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import GOOD, Row
from jaxsif.scaling.table import nodes_in_words, percent

WELL, POORLY, MEASUREMENT_KINDS = "SCALES WELL", "SCALES POORLY", "MEASUREMENT_KINDS"


@dataclass(frozen=True)
class Conclusion:
    """`status` is the exit status: that a program scales poorly is no failure of its
    measurement."""

    word: str
    text: str
    status: int


def conclude(study: Study, rows: Sequence[Row]) -> Conclusion:
    """A run that failed comes first, then one without a speed, then the efficiencies."""
    runs = [run for row in rows for run in row.runs]
    failed = sorted({run.nodes for run in runs if run.failed})
    if failed:
        text = f"{study.name}: a run on {nodes_in_words(failed)} failed"
        return Conclusion("FAIL", text, FAIL)
    unknown = [row.nodes for row in rows if len(row.speed_ups) < len(row.runs)]
    if unknown:
        text = f"{study.name}: a run on {nodes_in_words(unknown)} has no speed"
        return Conclusion("COULD NOT TELL", text, COULD_NOT_TELL)
    return Conclusion(*_scaling(study, rows[1:]), PASS)


def _scaling(study: Study, rows: Sequence[Row]) -> tuple[str, str]:
    """The word, and what it is said of: all rows but that on the fewest nodes."""
    poor = [row for row in rows if row.is_good is False]
    good = [row for row in rows if row.is_good]
    if poor:
        well = (
            f"; well on {nodes_in_words([row.nodes for row in good])}" if good else ""
        )
        return POORLY, f"{study.name}: {', '.join(map(_told, poor))}{well}"
    if good:
        return WELL, f"{study.name}: {_told(good[-1])}"
    most = GOOD[-1][0]
    text = f"{study.name}: {_told(rows[-1])}; nobody says what is good beyond {most}"
    return MEASUREMENT_KINDS, text


def _told(row: Row) -> str:
    mark = "" if row.good is None else f" ({percent(row.good)} is good)"
    return f"{percent(row.efficiency)} of ideal on {nodes_in_words([row.nodes])}{mark}"
