"""A verdict and its data as text for a terminal or a ticket."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxsif.bandwidth.figures import Figure
from jaxsif.html.markup import escape_invisible
from jaxsif.pairs.figures import NodePair
from jaxsif.report import words
from jaxsif.report.bandwidth import headlines
from jaxsif.report.document import Verdict
from jaxsif.report.figures import missing
from jaxsif.report.phases import startup_breakdown, timelines

_MAX_FINDINGS = 12
_MAX_RANKS = 16
_MOST_PAIRS = 8


def as_text(verdict: Verdict) -> str:
    """The verdict, the findings, then the data."""
    blocks = [
        [f"{verdict.verdict}  {verdict.summary}"],
        list(_findings(verdict)),
        list(_ranks(verdict)),
        list(_bandwidth(verdict)),
        list(_pairs(verdict)),
        [text] if (text := missing(verdict)) else [],
        list(_budget(verdict)),
    ]
    lines = [line for block in blocks if block for line in (*block, "")]
    return "\n".join(map(_one_line, lines))


def _one_line(text: str) -> str:
    """Escape untrusted text, so that it cannot imitate a verdict."""
    return escape_invisible(text).replace("\n", "\n   ")


def _findings(verdict: Verdict) -> Iterator[str]:
    for number, finding in enumerate(verdict.findings[:_MAX_FINDINGS], 1):
        sign = "warning: " if finding.is_warning else ""
        yield f"{number}. {sign}{finding.text}"
        for remedy in finding.remedy.splitlines():
            yield f"   -> {remedy.strip().removeprefix('-> ')}"
    if len(verdict.findings) > _MAX_FINDINGS:
        yield f"... and {len(verdict.findings) - _MAX_FINDINGS} more findings"


def _ranks(verdict: Verdict) -> Iterator[str]:
    """All ranks of a small job, otherwise those with findings or without an end."""
    shown = list(verdict.ranks)
    if len(shown) > _MAX_RANKS:
        named = verdict.slow_nodes
        shown = [r for r in shown if r.rank in named or "done" not in r.told]
        shown = shown[:_MAX_RANKS]
    rows = [(str(r.rank), r.node, r.phase) for r in shown]
    if rows:
        yield from _table(("rank", "node", "last phase"), rows, "<<<")
    if len(shown) < len(verdict.ranks):
        yield f"... and {words.plural(len(verdict.ranks) - len(shown), 'more rank')}"


def _bandwidth(verdict: Verdict) -> Iterator[str]:
    rows = [_bandwidth_row(point) for point in headlines(verdict.bandwidth or ())]
    if rows:
        head = ("collective", "type", "size", "time us", "busbw GB/s", "of expected")
        yield from _table((*head, "wrong", "slowest rank"), rows, "<<>>>>><")


def _bandwidth_row(point: Figure) -> tuple[str, ...]:
    return (
        point.collective,
        point.dtype,
        words.size(point.size_bytes),
        words.significant(point.time_us),
        words.significant(point.bus_gb_per_s),
        "-" if point.ratio is None else f"{point.ratio:.2f}",
        str(point.wrong),
        f"{point.slowest_rank} on {point.slowest_node}",
    )


def _pairs(verdict: Verdict) -> Iterator[str]:
    found = verdict.pairs
    if found is None:
        return
    rows = [pair_row(pair) for pair in found.pairs[:_MOST_PAIRS]]
    yield from _table(("slowest pairs", "GB/s", "of median", "wrong"), rows, "<>>>")
    if len(found.pairs) > _MOST_PAIRS:
        yield f"... and {len(found.pairs) - _MOST_PAIRS:,} faster pairs"


def pair_row(pair: NodePair) -> tuple[str, str, str, str]:
    """A pair in words: who, how fast, what part of the median, wrong elements."""
    if pair.gb_per_s is None or pair.ratio is None:
        return pair.name, "timed out" if pair.timed_out else "-", "-", str(pair.wrong)
    note = " (one side timed out)" if pair.timed_out else ""
    speed = words.significant(pair.gb_per_s)
    return pair.name, f"{speed}{note}", f"{pair.ratio:.2f}", str(pair.wrong)


def _budget(verdict: Verdict) -> Iterator[str]:
    rows = [
        (
            part.word,
            words.significant(part.median_s),
            words.significant(part.longest_s),
            f"{part.slowest.rank} on {part.slowest.node}",
        )
        for part in startup_breakdown(timelines(verdict))
    ]
    if rows:
        head = ("where the time went", "median s", "longest s", "slowest rank")
        yield from _table(head, rows, "<>><")


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], sides: str
) -> Iterator[str]:
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = zip(row, sides, widths, strict=True)
        yield "  ".join(f"{cell:{side}{width}}" for cell, side, width in cells).rstrip()
