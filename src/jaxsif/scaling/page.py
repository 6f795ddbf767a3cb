"""The page of a scaling study: the answer in words, two charts, and every run; pure but for the page's own style and script."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxsif.html.frame import Frame, attached, folded
from jaxsif.html.markup import Markup, table, tag
from jaxsif.html.one_file import one_file
from jaxsif.scaling import charts
from jaxsif.scaling.conclusion import POORLY, WELL, Conclusion
from jaxsif.scaling.files import as_csv
from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import GOOD, Row
from jaxsif.scaling.table import (
    cells,
    head,
    nodes_in_words,
    notes,
    percent,
    speed,
    title,
)

_MADE_BY = "Made by jax-sif scale from the verdicts of its runs."
# The word's colours and sign are those of a verdict, where one would say as much.
_LOOKS = {WELL: ("status-0", "✓"), POORLY: ("status-3", "✗"), "FAIL": ("status-1", "✗")}
_DOUBT = ("status-3", "?")
_MARKS = ", ".join(f"{percent(least)} up to {most} nodes" for most, least in GOOD)


def as_html(
    study: Study, rows: Sequence[Row], conclusion: Conclusion, plotly: str | None
) -> str:
    """The page. `plotly`: the library's source; without it the tables stay."""
    frame = Frame("scale", bool(plotly))
    article = tag(
        "article",
        _head(study, rows, conclusion),
        *_drawn(frame, rows),
        _results(frame, rows),
        _every_run(frame, study, rows),
        aria_labelledby="scale-verdict",
    )
    words = f"{conclusion.word} {title(study)}"
    return one_file(words, (tag("main", article),), _MADE_BY, plotly)


def _head(study: Study, rows: Sequence[Row], conclusion: Conclusion) -> Markup:
    """The answer, with the figures that matter most."""
    look, sign = _LOOKS.get(conclusion.word, _DOUBT)
    heading = tag(
        "h1",
        tag("span", sign, class_="sign", aria_hidden="true"),
        f" {conclusion.word}",
        id="scale-verdict",
    )
    tiles = [
        tag("div", tag("dt", name), tag("dd", value)) for name, value in _tiles(rows)
    ]
    return tag(
        "header",
        heading,
        tag("p", tag("strong", title(study)), class_="where"),
        tag("p", conclusion.text, class_="summary"),
        tag("dl", *tiles, class_="tiles"),
        class_=f"verdict {look}",
    )


def _tiles(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    yield "nodes", ", ".join(str(row.nodes) for row in rows)
    yield "runs", str(sum(len(row.runs) for row in rows))
    last = rows[-1]
    if last.per_s is not None and last.speed_up is not None:
        yield (
            f"speed on {nodes_in_words([last.nodes])}",
            f"{speed(last.per_s)} {last.unit}/s",
        )
        yield "speed-up", f"{last.speed_up:.2f} of {last.ideal:.2f}"
        yield "efficiency", percent(last.efficiency)


def _drawn(frame: Frame, rows: Sequence[Row]) -> Iterator[Markup]:
    """Nothing where fewer than two numbers of nodes have a speed: there is no line."""
    if sum(bool(row.speed_ups) for row in rows) < 2:
        return
    fewest = next(row.nodes for row in rows if row.ideal == 1)
    yield frame.section(
        "speed-up",
        "Speed-up",
        tag(
            "p",
            f"The speed over that on {nodes_in_words([fewest])}; both axes double from"
            f" mark to mark. Good is an efficiency of {_MARKS}.",
        ),
        frame.chart("speed-up", charts.speed_up(rows)),
    )
    yield frame.section(
        "efficiency",
        "Efficiency",
        tag(
            "p",
            "The speed-up over the ideal one, which is the number of nodes over"
            f" {fewest}.",
        ),
        frame.chart("efficiency", charts.efficiency(rows)),
    )


def _results(frame: Frame, rows: Sequence[Row]) -> Markup:
    said = [tag("li", note) for note in notes(rows)]
    numbers: list[tuple[object, ...]] = [cells(row) for row in rows]
    return frame.section(
        "results",
        "Results",
        table(head(rows), numbers, label="Results by number of nodes"),
        tag("ul", *said) if said else None,
    )


def _every_run(frame: Frame, study: Study, rows: Sequence[Row]) -> Markup:
    runs: list[tuple[object, ...]] = [
        (
            run.nodes,
            run.devices or "-",
            number,
            "-" if run.per_s is None else f"{speed(run.per_s)} {run.unit}/s",
            run.said,
        )
        for row in rows
        for number, run in enumerate(row.runs, 1)
    ]
    names = ("nodes", "devices", "run", "speed", "")
    file = attached(
        "as CSV", f"{study.name}-scale.csv", "text/csv", as_csv(rows).encode()
    )
    return frame.section(
        "runs",
        "Every run",
        tag("p", "All of them ", file, "."),
        folded("As a table", table(names, runs, label="Every run")),
    )
