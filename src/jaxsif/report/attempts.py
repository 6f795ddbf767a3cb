"""The attempts of a job as text."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.core.attempts_file import Attempt, AttemptsFile, restart_seconds
from jaxsif.core.text import (
    MAX_NODES_IN_LINE,
    MAX_ROWS,
    format_table,
    listed,
    not_shown,
    plural,
)
from jaxsif.html.markup import escape_invisible

_HEAD = (
    "attempt",
    "nodes",
    "steps",
    "ended by",
    "detected s",
    "running again s",
    "then",
)


def as_text(file: AttemptsFile) -> str:
    """A line of totals, and one row for each attempt; of many the last."""
    shown = list(zip(file.attempts, restart_seconds(file.attempts), strict=True))
    rows = [_row(attempt, restart_s) for attempt, restart_s in shown[-MAX_ROWS:]]
    lines = [f"{file.name} (job {file.job}), {file.topology}: {_totals(file)}"]
    lines += format_table([_HEAD, *rows], "><><>><") if rows else []
    lines += not_shown(MAX_ROWS, len(shown), "earlier attempt")
    return "".join(f"{escape_invisible(line)}\n" for line in lines)


def _totals(file: AttemptsFile) -> str:
    attempts = plural(len(file.attempts), "attempt")
    if file.goodput is None or file.device_hours_lost is None:
        return f"{attempts}, no progress reported (jaxsif.report_progress)"
    lost = f"{file.device_hours_lost:g} device hours lost"
    return f"{attempts}, goodput {file.goodput:.0%}, {lost}"


def _row(attempt: Attempt, restart_s: float | None) -> tuple[str, ...]:
    steps = "-"
    if attempt.first_done is not None:
        steps = f"{attempt.first_done}-{attempt.last_done}"
    cause = attempt.cause.kind if attempt.cause else "-"
    left_out = [node.node for node in attempt.decision.left_out]
    without = f" without {listed(left_out)}" if left_out else ""
    has_failed = attempt.decision.action != "done"
    return (
        str(attempt.number),
        listed(attempt.nodes, MAX_NODES_IN_LINE),
        steps,
        cause,
        _seconds(attempt.detect_s if has_failed else None),
        _seconds(restart_s),
        f"{attempt.decision.action}{without}",
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
