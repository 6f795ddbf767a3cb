"""The charts of the page, for plotly.js: bandwidth, pairs of nodes, timelines."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from jaxsif.core.evidence import FAIL_RATIO, WARN_RATIO
from jaxsif.core.text import (
    format_gb_per_s,
    format_seconds,
    format_significant,
    format_size,
    plural,
)
from jaxsif.core.verdict_file import BandwidthFigure, NodePair
from jaxsif.html.markup import Chart, colours, plain
from jaxsif.report.data import LABELS, HeatMap, RankTimeline, rated

_BANDWIDTH_PX = 340
_LABEL_PX = 17
_MARGIN = {"r": 165, "t": 16, "l": 70, "b": 56}

Series = dict[tuple[str, str], list[BandwidthFigure]]
_MAX_TICKS = 40
# The end of the colours, as a part of the median.
_MAX_RATIO = 1.2
_ROW_PX = 22


def bandwidth_chart(points: Sequence[BandwidthFigure]) -> Chart:
    """Bus bandwidth against size, both logarithmic, with the expected values."""
    series: Series = defaultdict(list)
    for point in points:
        if point.bus_gb_per_s > 0:
            series[point.collective, point.dtype].append(point)
    data: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    for name, of_series, colour in _coloured(series):
        data += [
            _range_trace(of_series, colour),
            _measured_trace(name, of_series, colour),
        ]
        shapes += _expected_shapes(of_series, colour)
    span = _decades(series)
    layout = {
        "height": _BANDWIDTH_PX + _MARGIN["t"] + _MARGIN["b"],
        "showlegend": False,
        "xaxis": _size_axis([point.size_bytes for point in points]),
        "yaxis": {
            "type": "log",
            "title": {"text": "bus bandwidth, GB/s"},
            "range": span,
            **_log_ticks(*span),
        },
        "margin": _MARGIN,
        "shapes": shapes,
        "annotations": _end_labels(series, span),
    }
    return Chart(data, layout, _bandwidth_alt_text(series))


def _coloured(series: Series) -> Iterator[tuple[str, list[BandwidthFigure], str]]:
    """Each line's name, points and colour."""
    pairs = zip(series.items(), colours(len(series)), strict=True)
    for (name, points), colour in pairs:
        yield plain(" ".join(name)), points, colour


def _decades(series: Series) -> tuple[float, float]:
    """The ends of the axis, as powers of ten, with room for the expected values."""
    values = [p.bus_gb_per_s for points in series.values() for p in points]
    highest = (rated(points) for points in series.values())
    values += [p.expected_bus_gb_per_s or p.bus_gb_per_s for p in highest if p]
    low, high = (math.log10(f(values, default=1.0)) for f in (min, max))
    room = max(0.06 * (high - low), 0.05)
    return low - room, high + room


def _measured_trace(
    title: str, points: Sequence[BandwidthFigure], colour: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": title,
        "x": [p.size_bytes for p in points],
        "y": [p.bus_gb_per_s for p in points],
        "line": {"color": colour, "width": 2},
        "marker": {
            "color": ["--bad" if p.wrong else colour for p in points],
            "symbol": ["x" if p.wrong else "circle" for p in points],
            "size": [11 if p.wrong else 6 for p in points],
        },
        "text": [_point_hover_text(p) for p in points],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _point_hover_text(point: BandwidthFigure) -> str:
    low, high = point.slowest_bus_gb_per_s, point.fastest_bus_gb_per_s
    lines = [
        f"{point.collective} {point.dtype}, {format_size(point.size_bytes)}",
        f"{format_gb_per_s(point.bus_gb_per_s)} bus bandwidth"
        f" ({plural(point.ranks, 'rank')})",
        f"slowest rank {point.slowest_rank} on {point.slowest_node}:"
        f" {format_gb_per_s(low)}, fastest {format_gb_per_s(high)}",
        f"{format_significant(point.time_us)} us",
    ]
    if point.ratio is not None:
        lines.append(f"{point.ratio:.2f} of the expected value")
    if point.wrong:
        lines.append(f"{point.wrong:,} wrong elements")
    return "<br>".join(map(plain, lines))


def _range_trace(points: Sequence[BandwidthFigure], colour: str) -> dict[str, Any]:
    """From the slowest rank to the fastest."""
    lows = [max(p.slowest_bus_gb_per_s, 1e-9) for p in points]
    highs = [p.fastest_bus_gb_per_s for p in points]
    sizes = [p.size_bytes for p in points]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*sizes, *reversed(sizes)],
        "y": [*highs, *reversed(lows)],
        "fill": "toself",
        "fillcolor": colour,
        "opacity": 0.16,
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _expected_shapes(
    points: Sequence[BandwidthFigure], colour: str
) -> list[dict[str, Any]]:
    """A dashed line at the expected value, and the band below it that still passes."""
    rated_point = rated(points)
    if rated_point is None or rated_point.expected_bus_gb_per_s is None:
        return []
    value = rated_point.expected_bus_gb_per_s
    # Six doublings of the size, up to the rated one.
    first = max(rated_point.size_bytes / 64, points[0].size_bytes / 2)
    ends = {"x0": first, "x1": rated_point.size_bytes}
    band = {"type": "rect", "y0": value * WARN_RATIO, "y1": value, **ends}
    line = {"type": "line", "y0": value, "y1": value, **ends}
    return [
        {**band, "fillcolor": colour, "opacity": 0.18, "line": {"width": 0}},
        {**line, "line": {"color": colour, "width": 1.5, "dash": "dash"}},
    ]


def _end_labels(series: Series, span: tuple[float, float]) -> list[dict[str, Any]]:
    """The name of each line and expected value at its end, without overlaps."""
    labels, free_px = [], math.inf
    for value, size_bytes, text, colour in _ends(series):
        height = math.log10(value)
        place_px = (height - span[0]) / (span[1] - span[0]) * _BANDWIDTH_PX
        shown_px = min(place_px, free_px)
        free_px = shown_px - _LABEL_PX
        labels.append(
            {
                "x": math.log10(size_bytes),
                "y": height,
                "text": text,
                "font": {"color": colour, "size": 13},
                "showarrow": False,
                "xanchor": "left",
                "xshift": 10,
                "yshift": round(shown_px - place_px),
            }
        )
    return labels


def _ends(series: Series) -> list[tuple[float, int, str, str]]:
    """Height, size, text and colour of the labels on the right, from above."""
    ends = []
    for name, points, colour in _coloured(series):
        last, rated_point = points[-1], rated(points)
        ends.append((last.bus_gb_per_s, last.size_bytes, name, colour))
        if rated_point is not None and rated_point.expected_bus_gb_per_s is not None:
            value = rated_point.expected_bus_gb_per_s
            text = f"<i>expected {format_gb_per_s(value)}</i>"
            ends.append((value, last.size_bytes, text, colour))
    return sorted(ends, reverse=True)


def _bandwidth_alt_text(series: Series) -> str:
    ends = [
        f"{' '.join(name)} reaches {format_gb_per_s(points[-1].bus_gb_per_s)} at"
        f" {format_size(points[-1].size_bytes)}"
        for name, points in series.items()
    ]
    return f"Bus bandwidth against size: {'; '.join(ends)}."


def _size_axis(sizes: Sequence[int]) -> dict[str, Any]:
    """About eight powers of two."""
    low, high = math.log2(max(min(sizes), 1)), math.log2(max(*sizes, 2))
    step = max(1, math.ceil((high - low) / 8))
    powers = range(math.floor(low), math.ceil(high) + 1, step)
    return {
        "type": "log",
        "title": {"text": "size of the message"},
        "tickvals": [2**power for power in powers],
        "ticktext": [format_size(2**power) for power in powers],
    }


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """1, 2 and 5 of every decade if there are few, otherwise the decades."""
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:.10g}" for tick in ticks]}


def pair_map_chart(cells: HeatMap, named_nodes: set[str]) -> Chart:
    """A heat map of node pairs: blue is as fast as the median, orange is slow."""
    count = len(cells.groups)
    labels = [_nodes_label(nodes, named_nodes) for nodes in cells.groups]
    ticks = _ticks([bool(named_nodes & set(nodes)) for nodes in cells.groups])
    axis = {
        "tickvals": ticks,
        "ticktext": [labels[i] for i in ticks],
        "showgrid": False,
        "zeroline": False,
        "range": [-0.5, count - 0.5],
        "constrain": "domain",
    }
    size_px = min(720, max(300, 150 + count * 40))
    layout = {
        "height": size_px,
        "xaxis": {**axis, "side": "top", "tickangle": -45},
        "yaxis": {**axis, "range": [count - 0.5, -0.5], "scaleanchor": "x"},
        "margin": {"t": 90, "l": 110, "r": 20, "b": 16},
        "plot_bgcolor": "--hollow",
        "showlegend": False,
    }
    data = [_heat(cells), _crosses(cells)]
    return Chart(data, layout, _map_alt_text(cells), size_px + 110)


def _nodes_label(nodes: Sequence[str], named_nodes: set[str]) -> str:
    label = plain(nodes[0] if len(nodes) == 1 else f"{nodes[0]} … {nodes[-1]}")
    return f"<b>✗ {label}</b>" if named_nodes & set(nodes) else label


def _ticks(is_named: Sequence[bool]) -> list[int]:
    """The ticks for which there is room; first the nodes that findings name."""
    step = max(1, math.ceil(len(is_named) / _MAX_TICKS))
    ticks: list[int] = []
    for named in (True, False):
        for i in range(len(is_named)):
            is_free = all(abs(i - tick) >= step for tick in ticks)
            if is_named[i] == named and is_free:
                ticks.append(i)
    return sorted(ticks)


def _heat(cells: HeatMap) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "z": [[pair and pair.ratio for pair in row] for row in cells.slowest],
        "text": [
            [pair and _pair_hover_text(pair) for pair in row] for row in cells.slowest
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": 0,
        "zmax": _MAX_RATIO,
        # Slow is orange, near the median pale, fast blue; no red and green.
        "colorscale": [
            [0, "--map-slow"],
            [FAIL_RATIO / _MAX_RATIO, "--map-doubt"],
            [WARN_RATIO / _MAX_RATIO, "--map-pass"],
            [1, "--map-fast"],
        ],
        "xgap": 2 if len(cells.groups) <= 32 else 0,
        "ygap": 2 if len(cells.groups) <= 32 else 0,
        "colorbar": {
            "title": {"text": "of the<br>median", "side": "top"},
            "tickvals": [0, 0.25, 0.5, FAIL_RATIO, WARN_RATIO, 1],
            "thickness": 14,
            "outlinewidth": 0,
        },
    }


def _crosses(cells: HeatMap) -> dict[str, Any]:
    """A cross where an exchange timed out or had wrong elements."""
    bad = [
        (x, y, pair)
        for y, row in enumerate(cells.slowest)
        for x, pair in enumerate(row)
        if pair is not None and (pair.timed_out or pair.wrong)
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [x for x, _, _ in bad],
        "y": [y for _, y, _ in bad],
        "text": [_pair_hover_text(pair) for _, _, pair in bad],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": "x", "color": "--ink", "size": 10},
    }


def _pair_hover_text(pair: NodePair) -> str:
    lines = [pair.name, f"ranks {pair.ranks[0]} and {pair.ranks[1]}"]
    if pair.gb_per_s is not None:
        lines.insert(1, format_gb_per_s(pair.gb_per_s))
    if pair.ratio is not None:
        lines[1] += f", {pair.ratio:.2f} of the median"
    if pair.timed_out:
        lines.append("an exchange timed out")
    if pair.wrong:
        lines.append(f"{pair.wrong:,} wrong elements")
    return "<br>".join(map(plain, lines))


def _map_alt_text(cells: HeatMap) -> str:
    found = {pair for row in cells.slowest for pair in row if pair is not None}
    known = [pair for pair in found if pair.ratio is not None]
    if not known:
        return "Map of node pairs: no exchange finished."
    slowest = min(known, key=lambda pair: (pair.ratio or 0.0, pair.nodes))
    return (
        f"Map of the pairs of {len(cells.groups)} nodes or groups; the slowest is"
        f" {slowest.name} with {format_gb_per_s(slowest.gb_per_s or 0.0)}."
    )


def timeline_chart(timelines: Sequence[RankTimeline], named_ranks: set[int]) -> Chart:
    """A bar for each rank, divided into its phases."""
    names = [_rank_label(timeline, named_ranks) for timeline in timelines]
    reported = (i.label for line in timelines for i in line.intervals)
    labels = list(dict.fromkeys([*LABELS.values(), *reported]))
    data = [
        trace
        for label, colour in zip(labels, colours(len(labels)), strict=True)
        if (trace := _bars(label, colour, timelines, names))
    ]
    layout = {
        "barmode": "overlay",
        "height": 120 + _ROW_PX * max(len(timelines), 2),
        "bargap": 0.25,
        "xaxis": {
            "title": {"text": "seconds after the first process of the node began"},
            "rangemode": "tozero",
        },
        "yaxis": {"autorange": "reversed", "type": "category", "automargin": True},
        "legend": {
            "orientation": "h",
            "y": 1,
            "yanchor": "bottom",
            "x": 0,
            "traceorder": "normal",
        },
        "margin": {"t": 16, "l": 110, "r": 16, "b": 48},
    }
    return Chart(data, layout, _timeline_alt_text(timelines))


def _rank_label(timeline: RankTimeline, named_ranks: set[int]) -> str:
    label = f"{timeline.rank.rank} {plain(timeline.rank.node)}"
    return f"<b>✗ {label}</b>" if timeline.rank.rank in named_ranks else label


def _bars(
    label: str, colour: str, timelines: Sequence[RankTimeline], names: Sequence[str]
) -> dict[str, Any] | None:
    found = [
        (name, timeline.rank, interval)
        for name, timeline in zip(names, timelines, strict=True)
        for interval in timeline.intervals
        if interval.label == label
    ]
    if not found:
        return None
    return {
        "type": "bar",
        "orientation": "h",
        "name": label,
        "y": [name for name, _, _ in found],
        "base": [round(interval.begin_s, 4) for _, _, interval in found],
        "x": [round(interval.length_s, 4) for _, _, interval in found],
        "marker": {"color": colour},
        "text": [
            f"rank {rank.rank} on {plain(rank.node)}<br>{label}:"
            f" {interval.length_s:.3f} s, from {interval.begin_s:.3f} s to"
            f" {interval.end_s:.3f} s"
            for _, rank, interval in found
        ],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
    }


def _timeline_alt_text(timelines: Sequence[RankTimeline]) -> str:
    last = max(timelines, key=lambda timeline: timeline.end_s)
    return (
        f"What {plural(len(timelines), 'rank')} did when; the last to end is rank"
        f" {last.rank.rank} on {last.rank.node} after {format_seconds(last.end_s)}."
    )
