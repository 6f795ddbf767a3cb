"""Speed-up and efficiency against nodes, with the ideal and what is good, as plotly.js takes them; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsif.html.chart import Chart, plain
from jaxsif.scaling.results import GOOD, Row
from jaxsif.scaling.table import nodes_in_words, percent, speed

_HEIGHT_PX = 420
_MARGIN = {"t": 64, "r": 60, "b": 56, "l": 68}
_IS, _GOOD, _IDEAL = "--blue", "--good", "--soft"


@dataclass(frozen=True)
class Mark:
    """From `begin` to `end` nodes an efficiency of `least` is good."""

    begin: int
    end: int
    least: float


@dataclass(frozen=True)
class _Quantity:
    """What is shown against nodes: its value, its ideal, and how it is written."""

    name: str
    of: Callable[[Row], tuple[float, ...]]
    median_of: Callable[[Row], float | None]
    ideal: Callable[[float], float]
    words: Callable[[float | None], str]
    # Where beside its point a number keeps clear of the line.
    label_px: int


def marks(rows: Sequence[Row]) -> list[Mark]:
    """A step for each range of nodes that the study reaches."""
    begin, most = rows[0].nodes, rows[-1].nodes
    found = []
    for end, least in GOOD:
        if begin < end and begin < most:
            found.append(Mark(begin, min(end, most), least))
        begin = max(begin, end)
    return found


def speed_up(rows: Sequence[Row]) -> Chart:
    """Both axes double from mark to mark, so that the ideal is a straight line."""
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
    values += [shown.ideal(mark.begin) * mark.least for mark in marks(rows)]
    ticks = _doublings(min(values), max(values))
    axis = {
        "type": "log",
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
        "range": _with_room(math.log10(min(values)), math.log10(max(values))),
    }
    return _chart(rows, shown, axis)


def efficiency(rows: Sequence[Row]) -> Chart:
    """From nothing to the ideal, or as far as a run got beyond it."""
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
    ranges = marks(rows)
    is_log = axis.get("type") == "log"
    data = [_band(mark, shown, is_first=i == 0) for i, mark in enumerate(ranges)]
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
            *(_mark_label(mark, shown, is_log) for mark in ranges),
            # What the others are compared with needs no number.
            *(_value_label(row, shown, is_log) for row in known[1:]),
        ],
    }
    told = [
        f"{shown.words(value)} on {row.nodes}"
        for row in known
        if (value := shown.median_of(row)) is not None
    ]
    return Chart(data, layout, f"{shown.name} against nodes: {', '.join(told)}.")


def _band(mark: Mark, shown: _Quantity, *, is_first: bool) -> dict[str, Any]:
    """From what is good to the ideal, on the nodes of a mark."""
    ends = (mark.begin, mark.end)
    ideals = [shown.ideal(nodes) for nodes in ends]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "good",
        "legendgroup": "good",
        "showlegend": is_first,
        "x": [*ends, *reversed(ends)],
        "y": [*(value * mark.least for value in ideals), *reversed(ideals)],
        "fill": "toself",
        "fillcolor": _GOOD,
        "opacity": 0.2,
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _mark_label(mark: Mark, shown: _Quantity, is_log: bool) -> dict[str, Any]:
    """In the middle of the band's lower edge, below it."""
    nodes = math.sqrt(mark.begin * mark.end)
    value = shown.ideal(nodes) * mark.least
    return {
        "x": math.log10(nodes),
        "y": math.log10(value) if is_log else value,
        "text": f"good: {percent(mark.least)}",
        "font": {"color": _GOOD, "size": 13},
        "showarrow": False,
        "yanchor": "top",
        "yshift": -2,
    }


def _value_label(row: Row, shown: _Quantity, is_log: bool) -> dict[str, Any]:
    """To the right, for the runs stand above and below their median."""
    value = shown.median_of(row) or 0.0
    return {
        "x": math.log10(row.nodes),
        "y": math.log10(value) if is_log else value,
        "text": f"<b>{shown.words(value)}</b>",
        "font": {"color": _IS, "size": 13},
        "showarrow": False,
        "xanchor": "left",
        "xshift": 7,
        "yshift": shown.label_px,
    }


def _ideal(rows: Sequence[Row], shown: _Quantity) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "ideal",
        "x": [row.nodes for row in rows],
        "y": [shown.ideal(row.nodes) for row in rows],
        "line": {"color": _IDEAL, "width": 2, "dash": "dash"},
        "hoverinfo": "skip",
    }


def _medians(rows: Sequence[Row], shown: _Quantity) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "median of the runs",
        "x": [row.nodes for row in rows],
        "y": [shown.median_of(row) for row in rows],
        "line": {"color": _IS, "width": 2.5},
        "marker": {"color": _IS, "size": 8},
        "hoverinfo": "skip",
    }


def _runs(rows: Sequence[Row], shown: _Quantity) -> dict[str, Any]:
    """Every run as a point of its own."""
    points = [
        (row.nodes, value, _run_words(row, number, shown.words(value), shown.name))
        for row in rows
        for number, value in enumerate(shown.of(row))
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "each run",
        "x": [nodes for nodes, _, _ in points],
        "y": [value for _, value, _ in points],
        "marker": {
            "color": _IS,
            "symbol": "circle-open",
            "size": 13,
            "line": {"width": 1.5},
        },
        "text": [words for _, _, words in points],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _run_words(row: Row, number: int, value: str, name: str) -> str:
    speeds = [r.per_s for r in row.runs if r.per_s is not None and r.unit == row.unit]
    lines = (
        f"{nodes_in_words([row.nodes])}, {row.devices} devices, run {number + 1}",
        f"{speed(speeds[number])} {row.unit}/s",
        f"{name} {value}",
    )
    return "<br>".join(map(plain, lines))


def _doublings(low: float, high: float) -> list[float]:
    """The powers of two from one below to one above."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    return [2.0**power for power in range(first, last + 1)]


def _with_room(low: float, high: float) -> list[float]:
    room = max(0.07 * (high - low), 0.03)
    return [low - room, high + room]
