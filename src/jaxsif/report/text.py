"""A verdict and its data as text for a terminal or a ticket."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

from jaxsif.core.evidence import finding_lines, rank_table
from jaxsif.core.text import format_significant, format_size, format_table, not_shown
from jaxsif.core.verdict_file import BandwidthFigure, NodePair, StepVerdict
from jaxsif.html.markup import escape_invisible
from jaxsif.report.data import headlines, startup_breakdown, timelines

_MAX_RANKS = 16
_MAX_PAIRS = 8


def as_text(verdict: StepVerdict) -> str:
    """The verdict, the findings, then the data."""
    blocks = [
        [f"{verdict.verdict}  {verdict.summary}"],
        finding_lines(verdict.findings),
        rank_table(verdict.ranks, verdict.named_ranks, _MAX_RANKS),
        _bandwidth(verdict),
        _pairs(verdict),
        _startup(verdict),
        [f"verified by {verdict.verified_by}"],
    ]
    lines = [line for block in blocks if block for line in (*block, "")]
    return "\n".join(map(_one_line, lines))


def _one_line(text: str) -> str:
    """Escape untrusted text, so that it cannot imitate a verdict."""
    return escape_invisible(text).replace("\n", "\n   ")


def _bandwidth(verdict: StepVerdict) -> list[str]:
    head = ("collective", "type", "size", "time us", "busbw GB/s", "of expected")
    rows = [_bandwidth_row(point) for point in headlines(verdict.bandwidth)]
    return _table((*head, "wrong", "slowest rank"), rows, "<<>>>>><")


def _bandwidth_row(point: BandwidthFigure) -> tuple[str, ...]:
    return (
        point.collective,
        point.dtype,
        format_size(point.size_bytes),
        format_significant(point.time_us),
        format_significant(point.bus_gb_per_s),
        "-" if point.ratio is None else f"{point.ratio:.2f}",
        str(point.wrong),
        f"{point.slowest_rank} on {point.slowest_node}",
    )


def _pairs(verdict: StepVerdict) -> list[str]:
    pairs = verdict.pairs.pairs if verdict.pairs else ()
    rows = [pair_row(pair) for pair in pairs[:_MAX_PAIRS]]
    table = _table(("slowest pairs", "GB/s", "of median", "wrong"), rows, "<>>>")
    return [*table, *not_shown(_MAX_PAIRS, len(pairs), "pair")]


def pair_row(pair: NodePair) -> tuple[str, str, str, str]:
    """The cells of a pair: name, GB/s, ratio to the median, wrong elements."""
    if pair.gb_per_s is None or pair.ratio is None:
        return pair.name, "timed out" if pair.timed_out else "-", "-", str(pair.wrong)
    note = " (one side timed out)" if pair.timed_out else ""
    speed = format_significant(pair.gb_per_s)
    return pair.name, f"{speed}{note}", f"{pair.ratio:.2f}", str(pair.wrong)


def _startup(verdict: StepVerdict) -> list[str]:
    head = ("where the time went", "median s", "longest s", "slowest rank")
    rows = [
        (
            part.label,
            format_significant(part.median_s),
            format_significant(part.longest_s),
            f"{part.slowest.rank} on {part.slowest.node}",
        )
        for part in startup_breakdown(timelines(verdict))
    ]
    return _table(head, rows, "<>><")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    return format_table([head, *rows], sides) if rows else []
