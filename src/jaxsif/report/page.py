"""The HTML page of one or more verdicts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

from jaxsif.core.image import kit_version
from jaxsif.core.text import format_time, listed
from jaxsif.core.verdict_file import StepVerdict
from jaxsif.html.document import html_document
from jaxsif.html.markup import Markup, SectionBuilder, table, tag
from jaxsif.report import data, sections


def as_html(verdicts: Sequence[StepVerdict], plotly: str | None) -> str:
    """The page. `plotly`: the library's source; without it there are only tables."""
    articles = [
        _article(SectionBuilder(f"v{i}", bool(plotly)), verdict)
        for i, verdict in enumerate(verdicts)
    ]
    parts = (_navigation(verdicts), tag("main", *articles))
    return html_document(_title(verdicts), parts, _made_by(verdicts), plotly)


def _article(frame: SectionBuilder, verdict: StepVerdict) -> Markup:
    """One verdict, the most important parts first."""
    timelines = data.timelines(verdict)
    return tag(
        "article",
        sections.head(frame, verdict, timelines),
        sections.findings(frame, verdict),
        sections.bandwidth(frame, verdict.bandwidth),
        sections.pairs(frame, verdict),
        sections.timeline(frame, verdict, timelines),
        sections.startup(frame, verdict, timelines),
        sections.environment(frame, verdict),
        sections.ranks(frame, verdict),
        sections.samples(frame, verdict),
        id=frame.prefix,
        aria_labelledby=f"{frame.prefix}-verdict",
    )


def _title(verdicts: Sequence[StepVerdict]) -> str:
    first = verdicts[0]
    more = f" and {len(verdicts) - 1} more" if len(verdicts) > 1 else ""
    return f"{first.verdict} {first.topology.label} {first.name}{more}"


def _made_by(verdicts: Sequence[StepVerdict]) -> str:
    """Which versions formed the verdicts, and which one made the page of them."""
    verifiers = listed(
        dict.fromkeys(str(v.verified_by) for v in verdicts), between="; "
    )
    return f"Verified by {verifiers}. Made by jax-sif report {kit_version()}."


def _navigation(verdicts: Sequence[StepVerdict]) -> Markup | None:
    """An overview of several verdicts, with links."""
    if len(verdicts) < 2:
        return None
    rows: list[tuple[object, ...]] = [
        (
            tag("a", verdict.verdict, href=f"#v{i}"),
            verdict.topology.label,
            verdict.program,
            verdict.name,
            format_time(verdict.start_time_s)
            if verdict.start_time_s is not None
            else "-",
            verdict.summary,
        )
        for i, verdict in enumerate(verdicts)
    ]
    head = ("verdict", "topology", "program", "step", "when", "summary")
    return tag("nav", table(head, rows, label=f"{len(verdicts)} verdicts"))
