"""The sections on time: timelines of the ranks, and a breakdown."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

from jaxsif.core.text import format_ranges, format_significant, plural
from jaxsif.core.verdict_file import StepVerdict
from jaxsif.html.markup import Markup, SectionBuilder, details, table, tag
from jaxsif.report.charts import timeline as chart
from jaxsif.report.figures import Figures
from jaxsif.report.phases import RankTimeline, chosen, startup_breakdown, unknown

_MOST_BARS = 48


def timeline(frame: SectionBuilder, figures: Figures) -> Markup | None:
    """The timelines; None if no rank reported anything."""
    shown = [life for life in figures.timelines if life.stretches]
    if not shown:
        return None
    slow_nodes = set(figures.verdict.named_ranks)
    drawn = chosen(shown, sorted(slow_nodes), _MOST_BARS)
    part = (
        f" Of {len(shown):,} ranks, {len(drawn)} are shown: those named by findings, then"
        " the last to end."
        if len(drawn) < len(shown)
        else ""
    )
    text = tag(
        "p",
        "Each bar is a rank, divided into its phases. Times are relative to the first"
        f" record of each node; ✗ marks ranks named by findings.{part}",
    )
    never = _missing_ranks(figures.verdict)
    return frame.section(
        "timeline",
        "Timeline of the ranks",
        text,
        tag("p", tag("strong", never)) if never else None,
        frame.chart("life", chart.timeline(drawn, slow_nodes)),
        details("As a table", _timelines_table(drawn)),
    )


def _missing_ranks(verdict: StepVerdict) -> str:
    """The ranks without records; empty if there are none."""
    reported = {rank.rank for rank in verdict.ranks}
    missing = set(range(verdict.topology.processes)) - reported
    few = plural(len(missing), "rank")
    return f"{few} never reported: {format_ranges(missing)}." if missing else ""


def start(frame: SectionBuilder, figures: Figures) -> Markup | None:
    """The breakdown of the time, and what is unknown."""
    parts = startup_breakdown(figures.timelines)
    if not parts:
        return None
    longest_s = max(part.longest_s for part in parts)
    rows: list[tuple[object, ...]] = [
        (
            part.word,
            format_significant(part.median_s),
            format_significant(part.longest_s),
            _bar(part.median_s, part.longest_s, longest_s),
            f"{part.slowest.rank} on {part.slowest.node}",
            part.ranks,
        )
        for part in parts
    ]
    head = ("stretch", "median, s", "longest, s", "", "longest on rank", "ranks")
    notes = tag("ul", *(tag("li", note) for note in unknown(figures.verdict)))
    return frame.section(
        "start",
        "Where the time went",
        table(head, rows, label="Stretches from the process's start to its end"),
        tag("p", "Unknown:"),
        notes,
    )


def _bar(median_s: float, longest_s: float, most_s: float) -> Markup:
    """The median as a bar, the longest time as a thin line."""
    scale = 100 / most_s if most_s > 0 else 0
    return tag(
        "span",
        tag("span", class_="longest", style=f"width:{longest_s * scale:.1f}%"),
        tag("span", class_="median", style=f"width:{median_s * scale:.1f}%"),
        class_="bar",
        aria_hidden="true",
    )


def _timelines_table(found: Sequence[RankTimeline]) -> Markup:
    rows: list[tuple[object, ...]] = [
        (
            life.rank.rank,
            life.rank.node,
            s.word,
            f"{s.begin_s:.3f}",
            f"{s.length_s:.3f}",
        )
        for life in found
        for s in life.stretches
    ]
    head = ("rank", "node", "stretch", "from, s", "length, s")
    return table(head, rows, label="Stretches of each rank")
