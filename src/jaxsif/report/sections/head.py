"""The top of the page: the verdict, the main figures, and the findings."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxsif.core.errors import PASS
from jaxsif.core.evidence import Finding
from jaxsif.core.text import (
    MAX_NODES_IN_REPORT,
    format_gb_per_s,
    format_ranks_and_nodes,
    format_seconds,
    format_size,
    format_time,
)
from jaxsif.core.verdict_file import NodePair, StepVerdict
from jaxsif.html.markup import Markup, SectionBuilder, tag
from jaxsif.report.bandwidth import headlines
from jaxsif.report.figures import Figures


def head(frame: SectionBuilder, figures: Figures) -> Markup:
    """The verdict and the main figures."""
    verdict = figures.verdict
    sign = {"PASS": "✓", "FAIL": "✗"}.get(verdict.verdict, "?")
    when = verdict.start_time_s
    title = tag(
        "h1",
        tag("span", sign, class_="sign", aria_hidden="true"),
        f" {verdict.verdict}",
        id=f"{frame.prefix}-verdict",
    )
    moment = f", {format_time(when)}" if when is not None else ""
    where = tag(
        "p",
        tag("strong", verdict.topology.label),
        f", step {verdict.name}{moment}",
        class_="where",
    )
    return tag(
        "header",
        title,
        where,
        tag("p", verdict.summary, class_="summary"),
        _tiles(figures),
        class_=f"verdict status-{verdict.status}",
    )


def _tiles(figures: Figures) -> Markup:
    tiles = [
        tag("div", tag("dt", name), tag("dd", value)) for name, value in _shown(figures)
    ]
    return tag("dl", *tiles, class_="tiles")


def _shown(figures: Figures) -> Iterator[tuple[str, str]]:
    verdict = figures.verdict
    done = sum("done" in rank.phases for rank in verdict.ranks)
    yield "ranks that finished", f"{done} of {verdict.topology.processes}"
    yield "nodes", str(len({rank.node for rank in verdict.ranks}))
    for point in headlines(figures.bandwidths)[:1]:
        part = f" ({point.ratio:.2f} of expected)" if point.ratio else ""
        size = format_size(point.size_bytes)
        name = f"{point.collective} bus bandwidth at {size}"
        yield name, f"{format_gb_per_s(point.bus_gb_per_s)}{part}"
    yield from _slowest_pair(figures.pairs.pairs)
    ends = [life.end_s for life in figures.timelines if life.stretches]
    if ends:
        yield "last rank ended after", format_seconds(max(ends))


def _slowest_pair(pairs: Sequence[NodePair]) -> Iterator[tuple[str, str]]:
    """The slowest pair, relative to the median if there are several."""
    for pair in pairs[:1]:
        speed = pair.gb_per_s
        text = "timed out" if speed is None else format_gb_per_s(speed)
        if pair.ratio is not None and len(pairs) > 1:
            text += f" ({pair.ratio:.2f} of median)"
        yield f"slowest pair, {pair.name}", text


def findings(frame: SectionBuilder, verdict: StepVerdict) -> Markup:
    """The findings with their remedies, the first cause first."""
    if not verdict.findings:
        text = "No problems found." if verdict.status == PASS else "No finding."
        return frame.section("findings", "Findings", tag("p", text))
    items = [_finding(finding, verdict) for finding in verdict.findings]
    return frame.section("findings", "Findings", tag("ol", *items, class_="findings"))


def _finding(finding: Finding, verdict: StepVerdict) -> Markup:
    kind = "warning" if finding.is_warning else "failure"
    names = format_ranks_and_nodes(
        ((rank, verdict.named_ranks[rank]) for rank in finding.ranks),
        MAX_NODES_IN_REPORT,
    )
    return tag(
        "li",
        tag("p", tag("span", kind, class_="kind"), " ", finding.text, class_="what"),
        *(tag("p", "→ ", line, class_="remedy") for line in _remedies(finding)),
        tag("p", "names ", tag("strong", names), class_="names") if names else None,
        class_=kind,
    )


def _remedies(finding: Finding) -> list[str]:
    """The lines of a remedy, one per action."""
    lines = finding.remedy.splitlines()
    return [line.strip().removeprefix("-> ") for line in lines]
