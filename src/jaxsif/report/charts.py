"""The page's charts, as plotly.js takes them; colours are names of page.css; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsif.report import words
from jaxsif.report.bandwidth import Point, judged_point
from jaxsif.report.markup import visible
from jaxsif.report.pairs import Cells, NodePair
from jaxsif.report.phases import WORDS, Life

# Okabe and Ito's palette, which people with any kind of colour vision can tell apart;
# page.css has a shade of each for light and dark.
COLOURS = (
    "--blue",
    "--orange",
    "--green",
    "--purple",
    "--sky",
    "--red",
    "--yellow",
    "--grey",
    "--brown",
)
# The judge's own limits: a pass from here on.
PASS_AT = 0.85

_ROW_PX = 22
_BANDWIDTH_PX = 340
_LABEL_PX = 17
_MARGIN = {"r": 165, "t": 16, "l": 70, "b": 56}
_MOST_TICKS = 40


Series = dict[tuple[str, str], list[Point]]


@dataclass(frozen=True)
class Chart:
    """What plotly.js draws, and the sentence for those who do not see it."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    words: str
    widest_px: int | None = None


def plain(text: object) -> str:
    """Text as it stands: plotly.js takes some tags for markup."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def bandwidth(points: Sequence[Point]) -> Chart:
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


def _coloured(series: Series) -> Iterator[tuple[str, list[Point], str]]:
    """Each line's name, points and colour."""
    colours = _colours(len(series))
    for (name, points), colour in zip(series.items(), colours, strict=True):
        yield plain(" ".join(name)), points, colour


def _decades(series: Series) -> tuple[float, float]:
    """The ends of the axis, as powers of ten, with room for what was expected."""
    values = [p.bus_gb_per_s for points in series.values() for p in points]
    judged = (judged_point(points) for points in series.values())
    values += [p.expected.bus_gb_per_s for p in judged if p and p.expected]
    low, high = (math.log10(f(values, default=1.0)) for f in (min, max))
    room = max(0.06 * (high - low), 0.05)
    return low - room, high + room


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _line(title: str, points: Sequence[Point], colour: str) -> dict[str, Any]:
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


def _point_words(point: Point) -> str:
    low, high = point.bus_range_gb_per_s
    lines = [
        f"{point.collective} {point.dtype}, {words.size(point.size_bytes)}",
        f"{words.gb_per_s(point.bus_gb_per_s)} bus bandwidth ({words.plural(point.ranks, 'rank')})",
        f"slowest rank {point.slowest.rank} on {point.slowest.node}: {words.gb_per_s(low)},"
        f" fastest {words.gb_per_s(high)}",
        f"{words.significant(point.time_us)} us",
    ]
    if point.of_expected is not None:
        lines.append(f"{point.of_expected:.2f} of what was expected")
    if point.wrong:
        lines.append(f"{point.wrong:,} wrong elements")
    return "<br>".join(map(plain, lines))


def _band(points: Sequence[Point], colour: str) -> dict[str, Any]:
    """From the slowest rank to the fastest."""
    lows = [max(p.bus_range_gb_per_s[0], 1e-9) for p in points]
    highs = [p.bus_range_gb_per_s[1] for p in points]
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


def _expected_shapes(points: Sequence[Point], colour: str) -> list[dict[str, Any]]:
    """A pass lies in the band or above it; a dashed line is what was expected."""
    judged = judged_point(points)
    if judged is None or judged.expected is None:
        return []
    value = judged.expected.bus_gb_per_s
    # Six doublings of the size up to that which is judged.
    first = max(judged.size_bytes / 64, points[0].size_bytes / 2)
    ends = {"x0": first, "x1": judged.size_bytes}
    band = {"type": "rect", "y0": value * PASS_AT, "y1": value, **ends}
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
        last, judged = points[-1], judged_point(points)
        ends.append((last.bus_gb_per_s, last.size_bytes, name, colour))
        if judged is not None and judged.expected is not None:
            value = judged.expected.bus_gb_per_s
            text = f"<i>expected {words.gb_per_s(value)}</i>"
            ends.append((value, last.size_bytes, text, colour))
    return sorted(ends, reverse=True)


def _bandwidth_words(series: Series) -> str:
    ends = [
        f"{' '.join(name)} reaches {words.gb_per_s(points[-1].bus_gb_per_s)} at"
        f" {words.size(points[-1].size_bytes)}"
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
        "ticktext": [words.size(2**power) for power in powers],
    }


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """1, 2 and 5 of every decade where few are in sight, else the decades."""
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:.10g}" for tick in ticks]}


def pair_map(cells: Cells, accused: set[str]) -> Chart:
    """A square of nodes: blue is as fast as the median, orange is slow."""
    count = len(cells.groups)
    labels = [_nodes_label(nodes, accused) for nodes in cells.groups]
    ticks = _ticks([bool(accused & set(nodes)) for nodes in cells.groups])
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
    return Chart(data, layout, _map_words(cells), size_px + 110)


def _nodes_label(nodes: Sequence[str], accused: set[str]) -> str:
    label = plain(nodes[0] if len(nodes) == 1 else f"{nodes[0]} … {nodes[-1]}")
    return f"<b>✗ {label}</b>" if accused & set(nodes) else label


def _ticks(is_accused: Sequence[bool]) -> list[int]:
    """As many as there is room for; those that findings name come first."""
    step = max(1, math.ceil(len(is_accused) / _MOST_TICKS))
    ticks: list[int] = []
    for named in (True, False):
        for i in range(len(is_accused)):
            is_free = all(abs(i - tick) >= step for tick in ticks)
            if is_accused[i] == named and is_free:
                ticks.append(i)
    return sorted(ticks)


def _heat(cells: Cells) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "z": [[pair and pair.of_median for pair in row] for row in cells.slowest],
        "text": [[pair and _pair_words(pair) for pair in row] for row in cells.slowest],
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": 0,
        "zmax": 1.2,
        # Slow is orange, near the median pale, fast blue: red and green play no part.
        "colorscale": [
            [0, "--map-slow"],
            [0.58, "--map-doubt"],
            [0.71, "--map-pass"],
            [1, "--map-fast"],
        ],
        "xgap": 2 if len(cells.groups) <= 32 else 0,
        "ygap": 2 if len(cells.groups) <= 32 else 0,
        "colorbar": {
            "title": {"text": "of the<br>median", "side": "top"},
            "tickvals": [0, 0.25, 0.5, 0.7, 0.85, 1],
            "thickness": 14,
            "outlinewidth": 0,
        },
    }


def _crosses(cells: Cells) -> dict[str, Any]:
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
        "text": [_pair_words(pair) for _, _, pair in bad],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": "x", "color": "--ink", "size": 10},
    }


def _pair_words(pair: NodePair) -> str:
    lines = [pair.name, f"ranks {pair.ranks[0]} and {pair.ranks[1]}"]
    if pair.gb_per_s is not None:
        lines.insert(1, words.gb_per_s(pair.gb_per_s))
    if pair.of_median is not None:
        lines[1] += f", {pair.of_median:.2f} of the median"
    if pair.timed_out:
        lines.append("an exchange timed out")
    if pair.wrong:
        lines.append(f"{pair.wrong:,} wrong elements")
    return "<br>".join(map(plain, lines))


def _map_words(cells: Cells) -> str:
    found = {pair for row in cells.slowest for pair in row if pair is not None}
    known = [pair for pair in found if pair.gb_per_s is not None]
    if not known:
        return "Map of node pairs: no exchange came to its end."
    slowest = min(known, key=lambda pair: pair.gb_per_s or 0.0)
    return (
        f"Map of the pairs of {len(cells.groups)} nodes or groups; the slowest is"
        f" {slowest.name} with {words.gb_per_s(slowest.gb_per_s or 0.0)}."
    )


def timeline(lives: Sequence[Life], accused: set[int]) -> Chart:
    """A bar for each rank, cut where it told a phase."""
    names = [_rank_label(life, accused) for life in lives]
    ordered = [word for word in dict.fromkeys([*WORDS.values(), *_all_words(lives)])]
    data = [
        trace
        for word, colour in zip(ordered, _colours(len(ordered)), strict=True)
        if (trace := _bars(word, colour, lives, names))
    ]
    layout = {
        "barmode": "overlay",
        "height": 120 + _ROW_PX * max(len(lives), 2),
        "bargap": 0.25,
        "xaxis": {
            "title": {"text": "seconds after the node's first record"},
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
    return Chart(data, layout, _timeline_words(lives))


def _all_words(lives: Sequence[Life]) -> list[str]:
    return [stretch.word for life in lives for stretch in life.stretches]


def _rank_label(life: Life, accused: set[int]) -> str:
    label = f"{life.rank.rank} {plain(life.rank.node)}"
    return f"<b>✗ {label}</b>" if life.rank.rank in accused else label


def _bars(
    word: str, colour: str, lives: Sequence[Life], names: Sequence[str]
) -> dict[str, Any] | None:
    found = [
        (name, life, stretch)
        for name, life in zip(names, lives, strict=True)
        for stretch in life.stretches
        if stretch.word == word
    ]
    if not found:
        return None
    return {
        "type": "bar",
        "orientation": "h",
        "name": word,
        "y": [name for name, _, _ in found],
        "base": [round(stretch.begin_s, 4) for _, _, stretch in found],
        "x": [round(stretch.length_s, 4) for _, _, stretch in found],
        "marker": {"color": colour},
        "text": [
            f"rank {life.rank.rank} on {plain(life.rank.node)}<br>{word}: {stretch.length_s:.3f} s,"
            f" from {stretch.begin_s:.3f} s to {stretch.end_s:.3f} s"
            for _, life, stretch in found
        ],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
    }


def _timeline_words(lives: Sequence[Life]) -> str:
    last = max(lives, key=lambda life: life.end_s)
    return (
        f"What {words.plural(len(lives), 'rank')} did when; the last to end is rank"
        f" {last.rank.rank} on {last.rank.node} after {words.seconds(last.end_s)}."
    )
