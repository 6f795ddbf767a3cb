"""The HTML page of a scaling study: the result, two charts and all runs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.core.image import versions
from jaxsif.html.document import html_document
from jaxsif.html.markup import (
    Chart,
    Markup,
    SectionBuilder,
    details,
    download_link,
    plain,
    table,
    tag,
    verdict_header,
)
from jaxsif.scaling.plan import Study
from jaxsif.scaling.render import (
    DOES_NOT_SCALE,
    SCALES,
    Summary,
    as_csv,
    cells,
    format_node_counts,
    head,
    notes,
    percent,
    speed,
    title,
)
from jaxsif.scaling.results import TARGETS, Row

# The exit status for the colour, and the sign. Poor scaling is shown like a warning.
_STYLE = {
    SCALES: (PASS, "✓"),
    DOES_NOT_SCALE: (COULD_NOT_TELL, "✗"),
    "FAIL": (FAIL, "✗"),
}
_TARGETS = ", ".join(f"{percent(least)} up to {most} nodes" for most, least in TARGETS)
_HEIGHT_PX = 420
_MARGIN = {"t": 64, "r": 60, "b": 56, "l": 68}
_IS, _GOOD, _IDEAL = "--blue", "--good", "--soft"


def as_html(
    study: Study, rows: Sequence[Row], summary: Summary, plotly: str | None
) -> str:
    """The page. `plotly`: the library's source; without it there are only tables."""
    frame = SectionBuilder("scale", bool(plotly))
    status, sign = _STYLE.get(summary.verdict, (COULD_NOT_TELL, "?"))
    article = tag(
        "article",
        verdict_header(
            frame.prefix,
            status,
            summary.verdict,
            sign=sign,
            subject=tag("strong", title(study)),
            summary=summary.text,
            tiles=_tiles(rows),
        ),
        *_drawn(frame, rows),
        _results(frame, rows),
        _every_run(frame, study, rows),
        aria_labelledby="scale-verdict",
    )
    heading = f"{summary.verdict} {title(study)}"
    made_by = f"Made by jax-sif scale ({versions()}) from the verdicts of its runs."
    return html_document(heading, (tag("main", article),), made_by, plotly)


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
        frame.chart("speed-up", speed_up(rows)),
    )
    yield frame.section(
        "efficiency",
        "Efficiency",
        tag(
            "p",
            "The speed-up divided by the ideal speed-up, which is the number of"
            f" nodes / {fewest}.",
        ),
        frame.chart("efficiency", efficiency(rows)),
    )


def _results(frame: SectionBuilder, rows: Sequence[Row]) -> Markup:
    items = [tag("li", note) for note in notes(rows)]
    numbers = [cells(row) for row in rows]
    return frame.section(
        "results",
        "Results",
        table(head(rows), numbers, label="Results by number of nodes"),
        tag("ul", *items) if items else None,
    )


def _every_run(frame: SectionBuilder, study: Study, rows: Sequence[Row]) -> Markup:
    runs = [
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


@dataclass(frozen=True)
class Band:
    """From `begin` to `end` nodes the target efficiency is `least`."""

    begin: int
    end: int
    least: float


@dataclass(frozen=True)
class _Quantity:
    """A quantity of the y axis: its value, its ideal, its format."""

    name: str
    values_of: Callable[[Row], tuple[float, ...]]
    median_of: Callable[[Row], float | None]
    ideal: Callable[[float], float]
    format: Callable[[float | None], str]
    # Offset of the labels, which keeps them clear of the line.
    label_px: int


def bands(rows: Sequence[Row]) -> list[Band]:
    """One band for each range of nodes that the study reaches."""
    begin, most = rows[0].nodes, rows[-1].nodes
    found = []
    for end, least in TARGETS:
        if begin < end and begin < most:
            found.append(Band(begin, min(end, most), least))
        begin = max(begin, end)
    return found


def speed_up(rows: Sequence[Row]) -> Chart:
    """The axes double from tick to tick, so that the ideal is a straight line."""
    fewest = rows[0].nodes / rows[0].ideal
    shown = _Quantity(
        "speed-up",
        lambda row: row.speed_ups,
        lambda row: row.speed_up,
        lambda nodes: nodes / fewest,
        lambda value: f"{value:.2f}",
        label_px=-11,
    )
    values = [row.ideal for row in rows] + [s for row in rows for s in row.speed_ups]
    values += [shown.ideal(band.begin) * band.least for band in bands(rows)]
    ticks = _doublings(min(values), max(values))
    axis = {
        "type": "log",
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
        "range": _with_room(math.log10(min(values)), math.log10(max(values))),
    }
    return _chart(rows, shown, axis)


def efficiency(rows: Sequence[Row]) -> Chart:
    """The axis goes from 0 to the ideal, or to the best run beyond it."""
    shown = _Quantity(
        "efficiency",
        lambda row: row.efficiencies,
        lambda row: row.efficiency,
        lambda nodes: 1.0,
        percent,
        label_px=11,
    )
    most = max([1.0, *(value for row in rows for value in row.efficiencies)])
    axis = {"tickformat": ".0%", "range": [0, most * 1.08], "dtick": 0.2}
    return _chart(rows, shown, axis)


def _chart(rows: Sequence[Row], shown: _Quantity, axis: dict[str, Any]) -> Chart:
    known = [row for row in rows if row.speed_ups]
    ranges = bands(rows)
    is_log = axis.get("type") == "log"
    data = [_area(band, shown, is_first=i == 0) for i, band in enumerate(ranges)]
    data += [_ideal(rows, shown), _medians(known, shown), _runs(known, shown)]
    nodes = [row.nodes for row in rows]
    layout = {
        "height": _HEIGHT_PX,
        "margin": _MARGIN,
        "xaxis": {
            "type": "log",
            "title": {"text": "nodes"},
            "tickvals": nodes,
            "ticktext": [str(count) for count in nodes],
            "range": _with_room(math.log10(nodes[0]), math.log10(nodes[-1])),
        },
        "yaxis": {"title": {"text": shown.name}, **axis},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "annotations": [
            *(_band_label(band, shown, is_log) for band in ranges),
            # The reference row is 1 by definition and needs no label.
            *(_value_label(row, shown, is_log) for row in known[1:]),
        ],
    }
    values = [
        f"{shown.format(value)} on {row.nodes}"
        for row in known
        if (value := shown.median_of(row)) is not None
    ]
    return Chart(data, layout, f"{shown.name} against nodes: {', '.join(values)}.")


def _area(band: Band, shown: _Quantity, *, is_first: bool) -> dict[str, Any]:
    """The area between the target and the ideal of a band."""
    ends = (band.begin, band.end)
    ideals = [shown.ideal(nodes) for nodes in ends]
    targets = [value * band.least for value in ideals]
    return _trace(
        "good",
        [*ends, *reversed(ends)],
        [*targets, *reversed(ideals)],
        legendgroup="good",
        showlegend=is_first,
        fill="toself",
        fillcolor=_GOOD,
        opacity=0.2,
        line={"width": 0},
    )


def _ideal(rows: Sequence[Row], shown: _Quantity) -> dict[str, Any]:
    nodes = [row.nodes for row in rows]
    line = {"color": _IDEAL, "width": 2, "dash": "dash"}
    return _trace("ideal", nodes, list(map(shown.ideal, nodes)), line=line)


def _medians(rows: Sequence[Row], shown: _Quantity) -> dict[str, Any]:
    return _trace(
        "median of the runs",
        [row.nodes for row in rows],
        [shown.median_of(row) for row in rows],
        mode="lines+markers",
        line={"color": _IS, "width": 2.5},
        marker={"color": _IS, "size": 8},
    )


def _runs(rows: Sequence[Row], shown: _Quantity) -> dict[str, Any]:
    """One point per run."""
    points = [
        (row.nodes, value, _hover_text(row, number, shown.format(value), shown.name))
        for row in rows
        for number, value in enumerate(shown.values_of(row))
    ]
    circle = {"symbol": "circle-open", "size": 13, "line": {"width": 1.5}}
    return _trace(
        "each run",
        [nodes for nodes, _, _ in points],
        [value for _, value, _ in points],
        mode="markers",
        marker={"color": _IS, **circle},
        text=[text for _, _, text in points],
        hoverinfo="text",
    )


def _trace(
    name: str, x: Sequence[float], y: Sequence[float | None], **style: Any
) -> dict[str, Any]:
    """A trace of lines without hover text, unless `style` says otherwise."""
    default = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
    return {**default, "name": name, "x": list(x), "y": list(y), **style}


def _band_label(band: Band, shown: _Quantity, is_log: bool) -> dict[str, Any]:
    """The label below the middle of the band's lower edge."""
    nodes = math.sqrt(band.begin * band.end)
    value = shown.ideal(nodes) * band.least
    text = f"good: {percent(band.least)}"
    return _label(nodes, value, text, _GOOD, is_log, yanchor="top", yshift=-2)


def _value_label(row: Row, shown: _Quantity, is_log: bool) -> dict[str, Any]:
    """The label of a median, on its right: runs are above and below it."""
    value = shown.median_of(row) or 0.0
    text = f"<b>{shown.format(value)}</b>"
    place = {"xanchor": "left", "xshift": 7, "yshift": shown.label_px}
    return _label(row.nodes, value, text, _IS, is_log, **place)


def _label(
    nodes: float, value: float, text: str, colour: str, is_log: bool, **place: Any
) -> dict[str, Any]:
    return {
        "x": math.log10(nodes),
        "y": math.log10(value) if is_log else value,
        "text": text,
        "font": {"color": colour, "size": 13},
        "showarrow": False,
        **place,
    }


def _hover_text(row: Row, number: int, value: str, name: str) -> str:
    speeds = [r.per_s for r in row.runs if r.per_s is not None and r.unit == row.unit]
    lines = (
        f"{format_node_counts([row.nodes])}, {row.devices} devices, run {number + 1}",
        f"{speed(speeds[number])} {row.unit}/s",
        f"{name} {value}",
    )
    return "<br>".join(map(plain, lines))


def _doublings(low: float, high: float) -> list[float]:
    """Powers of two that enclose both values."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    return [2.0**power for power in range(first, last + 1)]


def _with_room(low: float, high: float) -> list[float]:
    room = max(0.07 * (high - low), 0.03)
    return [low - room, high + room]
