"""A verdict and its data as text for a terminal or a ticket."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.core.text import (
    MAX_FINDINGS,
    format_significant,
    format_size,
    format_table,
    not_shown,
)
from jaxsif.core.verdict_file import BandwidthFigure, NodePair, StepVerdict
from jaxsif.html.markup import escape_invisible
from jaxsif.report.bandwidth import headlines
from jaxsif.report.phases import startup_breakdown, timelines

_MAX_RANKS = 16
_MAX_PAIRS = 8


def as_text(verdict: StepVerdict) -> str:
    """The verdict, the findings, then the data."""
    blocks = [
        [f"{verdict.verdict}  {verdict.summary}"],
        list(_findings(verdict)),
        list(_ranks(verdict)),
        list(_bandwidth(verdict)),
        list(_pairs(verdict)),
        list(_budget(verdict)),
    ]
    lines = [line for block in blocks if block for line in (*block, "")]
    return "\n".join(map(_one_line, lines))


def _one_line(text: str) -> str:
    """Escape untrusted text, so that it cannot imitate a verdict."""
    return escape_invisible(text).replace("\n", "\n   ")


def _findings(verdict: StepVerdict) -> Iterator[str]:
    for number, finding in enumerate(verdict.findings[:MAX_FINDINGS], 1):
        sign = "warning: " if finding.is_warning else ""
        yield f"{number}. {sign}{finding.text}"
        for remedy in finding.remedy.splitlines():
            yield f"   -> {remedy.strip().removeprefix('-> ')}"
    yield from not_shown(MAX_FINDINGS, len(verdict.findings), "finding")


def _ranks(verdict: StepVerdict) -> Iterator[str]:
    """All ranks of a small job, otherwise those with findings or without an end."""
    shown = list(verdict.ranks)
    if len(shown) > _MAX_RANKS:
        named = verdict.named_ranks
        shown = [r for r in shown if r.rank in named or "done" not in r.phases]
        shown = shown[:_MAX_RANKS]
    rows = [(str(r.rank), r.node, r.phase) for r in shown]
    if rows:
        yield from format_table([("rank", "node", "last phase"), *rows])
    yield from not_shown(len(shown), len(verdict.ranks), "rank")


def _bandwidth(verdict: StepVerdict) -> Iterator[str]:
    rows = [_bandwidth_row(point) for point in headlines(verdict.bandwidth)]
    if rows:
        head = ("collective", "type", "size", "time us", "busbw GB/s", "of expected")
        yield from format_table([(*head, "wrong", "slowest rank"), *rows], "<<>>>>><")


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


def _pairs(verdict: StepVerdict) -> Iterator[str]:
    found = verdict.pairs
    if found is None:
        return
    rows = [pair_row(pair) for pair in found.pairs[:_MAX_PAIRS]]
    head = ("slowest pairs", "GB/s", "of median", "wrong")
    yield from format_table([head, *rows], "<>>>")
    yield from not_shown(_MAX_PAIRS, len(found.pairs), "pair")


def pair_row(pair: NodePair) -> tuple[str, str, str, str]:
    """A pair in words: who, how fast, what part of the median, wrong elements."""
    if pair.gb_per_s is None or pair.ratio is None:
        return pair.name, "timed out" if pair.timed_out else "-", "-", str(pair.wrong)
    note = " (one side timed out)" if pair.timed_out else ""
    speed = format_significant(pair.gb_per_s)
    return pair.name, f"{speed}{note}", f"{pair.ratio:.2f}", str(pair.wrong)


def _budget(verdict: StepVerdict) -> Iterator[str]:
    rows = [
        (
            part.word,
            format_significant(part.median_s),
            format_significant(part.longest_s),
            f"{part.slowest.rank} on {part.slowest.node}",
        )
        for part in startup_breakdown(timelines(verdict))
    ]
    if rows:
        head = ("where the time went", "median s", "longest s", "slowest rank")
        yield from format_table([head, *rows], "<>><")
