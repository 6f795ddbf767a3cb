"""Charts of speed-up and efficiency by number of nodes, for plotly.js."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsif.html.chart import Chart, plain
from jaxsif.scaling.results import TARGETS, Row
from jaxsif.scaling.table import format_node_counts, percent, speed

_HEIGHT_PX = 420
_MARGIN = {"t": 64, "r": 60, "b": 56, "l": 68}
_IS, _GOOD, _IDEAL = "--blue", "--good", "--soft"


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
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "good",
        "legendgroup": "good",
        "showlegend": is_first,
        "x": [*ends, *reversed(ends)],
        "y": [*(value * band.least for value in ideals), *reversed(ideals)],
        "fill": "toself",
        "fillcolor": _GOOD,
        "opacity": 0.2,
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _band_label(band: Band, shown: _Quantity, is_log: bool) -> dict[str, Any]:
    """The label below the middle of the band's lower edge."""
    nodes = math.sqrt(band.begin * band.end)
    value = shown.ideal(nodes) * band.least
    return {
        "x": math.log10(nodes),
        "y": math.log10(value) if is_log else value,
        "text": f"good: {percent(band.least)}",
        "font": {"color": _GOOD, "size": 13},
        "showarrow": False,
        "yanchor": "top",
        "yshift": -2,
    }


def _value_label(row: Row, shown: _Quantity, is_log: bool) -> dict[str, Any]:
    """The label of a median, on its right: runs are above and below it."""
    value = shown.median_of(row) or 0.0
    return {
        "x": math.log10(row.nodes),
        "y": math.log10(value) if is_log else value,
        "text": f"<b>{shown.format(value)}</b>",
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
    """One point per run."""
    points = [
        (row.nodes, value, _hover_text(row, number, shown.format(value), shown.name))
        for row in rows
        for number, value in enumerate(shown.values_of(row))
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
        "text": [text for _, _, text in points],
        "hovertemplate": "%{text}<extra></extra>",
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
