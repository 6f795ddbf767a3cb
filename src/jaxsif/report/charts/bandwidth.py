"""Bus bandwidth against size, with what was expected; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from jaxsif.core.evidence import WARN_RATIO
from jaxsif.core.text import format_gb_per_s, format_significant, format_size, plural
from jaxsif.core.verdict_file import BandwidthFigure
from jaxsif.html.markup import Chart, colours, plain
from jaxsif.report.bandwidth import rated

_BANDWIDTH_PX = 340
_LABEL_PX = 17
_MARGIN = {"r": 165, "t": 16, "l": 70, "b": 56}

Series = dict[tuple[str, str], list[BandwidthFigure]]


def bandwidth(points: Sequence[BandwidthFigure]) -> Chart:
    """Bus bandwidth against size, both logarithmic, with what was expected."""
    series: Series = defaultdict(list)
    for point in points:
        if point.bus_gb_per_s > 0:
            series[point.collective, point.dtype].append(point)
    data: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    for name, of_series, colour in _coloured(series):
        data += [_band(of_series, colour), _line(name, of_series, colour)]
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
    return Chart(data, layout, _bandwidth_words(series))


def _coloured(series: Series) -> Iterator[tuple[str, list[BandwidthFigure], str]]:
    """Each line's name, points and colour."""
    pairs = zip(series.items(), colours(len(series)), strict=True)
    for (name, points), colour in pairs:
        yield plain(" ".join(name)), points, colour


def _decades(series: Series) -> tuple[float, float]:
    """The ends of the axis, as powers of ten, with room for what was expected."""
    values = [p.bus_gb_per_s for points in series.values() for p in points]
    highest = (rated(points) for points in series.values())
    values += [p.expected_bus_gb_per_s or p.bus_gb_per_s for p in highest if p]
    low, high = (math.log10(f(values, default=1.0)) for f in (min, max))
    room = max(0.06 * (high - low), 0.05)
    return low - room, high + room


def _line(title: str, points: Sequence[BandwidthFigure], colour: str) -> dict[str, Any]:
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
        "text": [_point_words(p) for p in points],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _point_words(point: BandwidthFigure) -> str:
    low, high = point.slowest_bus_gb_per_s, point.fastest_bus_gb_per_s
    lines = [
        f"{point.collective} {point.dtype}, {format_size(point.size_bytes)}",
        f"{format_gb_per_s(point.bus_gb_per_s)} bus bandwidth ({plural(point.ranks, 'rank')})",
        f"slowest rank {point.slowest_rank} on {point.slowest_node}: {format_gb_per_s(low)},"
        f" fastest {format_gb_per_s(high)}",
        f"{format_significant(point.time_us)} us",
    ]
    if point.ratio is not None:
        lines.append(f"{point.ratio:.2f} of what was expected")
    if point.wrong:
        lines.append(f"{point.wrong:,} wrong elements")
    return "<br>".join(map(plain, lines))


def _band(points: Sequence[BandwidthFigure], colour: str) -> dict[str, Any]:
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
    """A pass lies in the band or above it; a dashed line is what was expected."""
    judged = rated(points)
    if judged is None or judged.expected_bus_gb_per_s is None:
        return []
    value = judged.expected_bus_gb_per_s
    # Six doublings of the size up to that which is judged.
    first = max(judged.size_bytes / 64, points[0].size_bytes / 2)
    ends = {"x0": first, "x1": judged.size_bytes}
    band = {"type": "rect", "y0": value * WARN_RATIO, "y1": value, **ends}
    line = {"type": "line", "y0": value, "y1": value, **ends}
    return [
        {**band, "fillcolor": colour, "opacity": 0.18, "line": {"width": 0}},
        {**line, "line": {"color": colour, "width": 1.5, "dash": "dash"}},
    ]


def _end_labels(series: Series, span: tuple[float, float]) -> list[dict[str, Any]]:
    """Each line's name at its end, and what was expected, moved apart where two meet."""
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
    """Height, size, text and colour of what stands at the right, from above."""
    ends = []
    for name, points, colour in _coloured(series):
        last, judged = points[-1], rated(points)
        ends.append((last.bus_gb_per_s, last.size_bytes, name, colour))
        if judged is not None and judged.expected_bus_gb_per_s is not None:
            value = judged.expected_bus_gb_per_s
            text = f"<i>expected {format_gb_per_s(value)}</i>"
            ends.append((value, last.size_bytes, text, colour))
    return sorted(ends, reverse=True)


def _bandwidth_words(series: Series) -> str:
    ends = [
        f"{' '.join(name)} reaches {format_gb_per_s(points[-1].bus_gb_per_s)} at"
        f" {format_size(points[-1].size_bytes)}"
        for name, points in series.items()
    ]
    return f"Bus bandwidth against size: {'; '.join(ends)}."


def _size_axis(sizes: Sequence[int]) -> dict[str, Any]:
    """Powers of two as people name them, about eight of them."""
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
    """1, 2 and 5 of every decade where few are in sight, else the decades."""
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:.10g}" for tick in ticks]}
