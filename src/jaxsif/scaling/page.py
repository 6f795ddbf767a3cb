"""The HTML page of a scaling study: the result, two charts and all runs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxsif.html.frame import SectionBuilder, details, download_link
from jaxsif.html.markup import Markup, table, tag
from jaxsif.html.one_file import html_document
from jaxsif.scaling import charts
from jaxsif.scaling.conclusion import DOES_NOT_SCALE, SCALES, Summary
from jaxsif.scaling.files import as_csv
from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import TARGETS, Row
from jaxsif.scaling.table import (
    cells,
    format_node_counts,
    head,
    notes,
    percent,
    speed,
    title,
)

_MADE_BY = "Made by jax-sif scale from the verdicts of its runs."
# CSS class and sign, the same as those of a job's verdict.
_CSS_CLASS = {
    SCALES: ("status-0", "✓"),
    DOES_NOT_SCALE: ("status-3", "✗"),
    "FAIL": ("status-1", "✗"),
}
_CAVEAT = ("status-3", "?")
_TARGETS = ", ".join(f"{percent(least)} up to {most} nodes" for most, least in TARGETS)


def as_html(
    study: Study, rows: Sequence[Row], summary: Summary, plotly: str | None
) -> str:
    """The page. `plotly`: the library's source; without it there are only tables."""
    frame = SectionBuilder("scale", bool(plotly))
    article = tag(
        "article",
        _head(study, rows, summary),
        *_drawn(frame, rows),
        _results(frame, rows),
        _every_run(frame, study, rows),
        aria_labelledby="scale-verdict",
    )
    heading = f"{summary.verdict} {title(study)}"
    return html_document(heading, (tag("main", article),), _MADE_BY, plotly)


def _head(study: Study, rows: Sequence[Row], summary: Summary) -> Markup:
    """The result and the main figures."""
    css_class, sign = _CSS_CLASS.get(summary.verdict, _CAVEAT)
    heading = tag(
        "h1",
        tag("span", sign, class_="sign", aria_hidden="true"),
        f" {summary.verdict}",
        id="scale-verdict",
    )
    tiles = [
        tag("div", tag("dt", name), tag("dd", value)) for name, value in _tiles(rows)
    ]
    return tag(
        "header",
        heading,
        tag("p", tag("strong", title(study)), class_="where"),
        tag("p", summary.text, class_="summary"),
        tag("dl", *tiles, class_="tiles"),
        class_=f"verdict {css_class}",
    )


def _tiles(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    yield "nodes", ", ".join(str(row.nodes) for row in rows)
    yield "runs", str(sum(len(row.runs) for row in rows))
    last = rows[-1]
    if last.per_s is not None and last.speed_up is not None:
        yield (
            f"speed on {format_node_counts([last.nodes])}",
            f"{speed(last.per_s)} {last.unit}/s",
        )
        yield "speed-up", f"{last.speed_up:.2f} of {last.ideal:.2f}"
        yield "efficiency", percent(last.efficiency)


def _drawn(frame: SectionBuilder, rows: Sequence[Row]) -> Iterator[Markup]:
    """The charts; none if fewer than two node counts have a speed."""
    if sum(bool(row.speed_ups) for row in rows) < 2:
        return
    fewest = next(row.nodes for row in rows if row.ideal == 1)
    yield frame.section(
        "speed-up",
        "Speed-up",
        tag(
            "p",
            f"The speed divided by that on {format_node_counts([fewest])}. Good is an"
            f" efficiency of {_TARGETS}.",
        ),
        frame.chart("speed-up", charts.speed_up(rows)),
    )
    yield frame.section(
        "efficiency",
        "Efficiency",
        tag(
            "p",
            "The speed-up divided by the ideal speed-up, which is the number of"
            f" nodes / {fewest}.",
        ),
        frame.chart("efficiency", charts.efficiency(rows)),
    )


def _results(frame: SectionBuilder, rows: Sequence[Row]) -> Markup:
    items = [tag("li", note) for note in notes(rows)]
    numbers: list[tuple[object, ...]] = [cells(row) for row in rows]
    return frame.section(
        "results",
        "Results",
        table(head(rows), numbers, label="Results by number of nodes"),
        tag("ul", *items) if items else None,
    )


def _every_run(frame: SectionBuilder, study: Study, rows: Sequence[Row]) -> Markup:
    runs: list[tuple[object, ...]] = [
        (
            run.nodes,
            run.devices or "-",
            number,
            "-" if run.per_s is None else f"{speed(run.per_s)} {run.unit}/s",
            run.message,
        )
        for row in rows
        for number, run in enumerate(row.runs, 1)
    ]
    names = ("nodes", "devices", "run", "speed", "")
    file = download_link(
        "as CSV", f"{study.name}-scale.csv", "text/csv", as_csv(rows).encode()
    )
    return frame.section(
        "runs",
        "Every run",
        tag("p", "All runs ", file, "."),
        details("As a table", table(names, runs, label="Every run")),
    )
