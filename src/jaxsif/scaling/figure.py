"""Draws a scaling study as one SVG file, speed-up and efficiency against nodes; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise

from jaxsif.scaling.plan import Study
from jaxsif.scaling.results import GOOD, Row
from jaxsif.scaling.table import title

_WIDTH, _HEIGHT = 760, 380
_TOP, _BOTTOM = 70, 320
_INSET = 14
_STYLE = """
  svg { background: #fff; color: #222; font: 13px system-ui, sans-serif; }
  text { fill: currentColor; } .quiet { opacity: .65; }
  .grid { stroke: currentColor; opacity: .13; } .axis { stroke: currentColor; opacity: .5; }
  .ideal { stroke: currentColor; stroke-dasharray: 5 4; opacity: .65; fill: none; }
  .is { stroke: #0072b2; stroke-width: 2.5; fill: none; } .dot { fill: #0072b2; }
  .value { fill: #0072b2; font-weight: 600; } .mark { stroke: #b4540a; stroke-width: 2; }
  .marked { fill: #b4540a; }
  @media (prefers-color-scheme: dark) {
    svg { background: #16181c; color: #e6e6e6; }
    .is { stroke: #5cb8ff; } .dot, .value { fill: #5cb8ff; }
    .mark { stroke: #ffa657; } .marked { fill: #ffa657; }
  }
"""

Scale = Callable[[float], float]


def svg(study: Study, rows: Sequence[Row]) -> str | None:
    """The drawing; None when fewer than two runs have a speed: there is no line."""
    if sum(row.speed_up is not None for row in rows) < 2:
        return None
    words = title(study)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        f' role="img" aria-label="{escape(_told(words, rows))}">',
        f"<style>{_STYLE}</style>",
        f'<text x="30" y="28" font-size="16" font-weight="600">{escape(words)}</text>',
        *_speed_up(rows, 60, 350),
        *_efficiency(rows, 440, 730),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _told(words: str, rows: Sequence[Row]) -> str:
    """The drawing in words."""
    values = [
        f"{row.run.nodes} nodes {row.efficiency:.0%}"
        for row in rows
        if row.efficiency is not None
    ]
    return f"{words}; efficiency: {', '.join(values)}"


def _speed_up(rows: Sequence[Row], left: int, right: int) -> list[str]:
    """Both axes double from mark to mark, so that the ideal is a straight line."""
    x = _doubling([row.run.nodes for row in rows], left + _INSET, right - _INSET)
    tops = [row.ideal for row in rows] + [row.speed_up or 1 for row in rows]
    y = _doubling([min(tops), max(tops)], _BOTTOM, _TOP)
    ideal = [(x(row.run.nodes), y(row.ideal)) for row in rows]
    parts = [_heading("speed-up", left), *_node_axis(rows, x, left, right)]
    for row in rows:
        parts.append(_line("grid", left, y(row.ideal), right, y(row.ideal)))
        parts.append(_words(left - 8, y(row.ideal) + 4, f"{row.ideal:g}", "end"))
    parts.append(_path("ideal", ideal))
    parts.append(_words(ideal[-1][0] - 12, ideal[-1][1] - 8, "ideal", "end", "quiet"))
    points = [
        (x(row.run.nodes), y(row.speed_up), f"{row.speed_up:.2f}")
        for row in rows
        if row.speed_up is not None
    ]
    return [*parts, *_series(points)]


def _efficiency(rows: Sequence[Row], left: int, right: int) -> list[str]:
    """From nothing to the ideal, with what is good on so many nodes."""
    x = _doubling([row.run.nodes for row in rows], left + _INSET, right - _INSET)
    most = max(1.0, *(row.efficiency or 0 for row in rows))

    def y(value: float) -> float:
        return _BOTTOM - value / most * (_BOTTOM - _TOP)

    parts = [_heading("efficiency", left), *_node_axis(rows, x, left, right)]
    for percent in (0, 20, 40, 60, 80, 100):
        height = y(percent / 100)
        name = "ideal" if percent == 100 else "grid"
        parts.append(_line(name, left, height, right, height))
        parts.append(_words(left - 8, height + 4, f"{percent} %", "end"))
    parts += _marks(rows, x, y)
    points = [
        (x(row.run.nodes), y(row.efficiency), f"{row.efficiency:.0%}")
        for row in rows
        if row.efficiency is not None
    ]
    return [*parts, *_series(points)]


def _marks(rows: Sequence[Row], x: Scale, y: Scale) -> list[str]:
    """A step for each range of nodes; only ranges that the study reaches."""
    fewest, most = rows[0].run.nodes, rows[-1].run.nodes
    parts, begin = [], fewest
    for end, least in GOOD:
        if begin < end and begin < most and fewest < end:
            upto = min(end, most)
            parts.append(_line("mark", x(begin), y(least), x(upto), y(least)))
            label = f"good: {least:.0%}"
            parts.append(_words(x(begin) + 4, y(least) + 16, label, "start", "marked"))
        begin = max(begin, end)
    return parts


def _series(points: Sequence[tuple[float, float, str]]) -> list[str]:
    parts = [_path("is", [(x, y) for x, y, _ in points])]
    for i, (x, y, label) in enumerate(points):
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        # What the others are compared with is 1 and 100 %, as everybody sees.
        if i:
            parts.append(_words(x, y + 20, label, "middle", "value"))
    return parts


def _node_axis(rows: Sequence[Row], x: Scale, left: int, right: int) -> list[str]:
    parts = [_line("axis", left, _BOTTOM, right, _BOTTOM)]
    for row in rows:
        parts.append(
            _words(x(row.run.nodes), _BOTTOM + 20, str(row.run.nodes), "middle")
        )
    parts.append(_words((left + right) / 2, _BOTTOM + 42, "nodes", "middle", "quiet"))
    return parts


def _doubling(values: Sequence[float], low: float, high: float) -> Scale:
    """A logarithmic scale from the least value to the greatest."""
    least, most = math.log2(min(values)), math.log2(max(values))
    span = (most - least) or 1.0
    return lambda value: low + (math.log2(value) - least) / span * (high - low)


def _heading(words: str, left: int) -> str:
    return f'<text x="{left}" y="{_TOP - 16}" class="quiet">{words}</text>'


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{name}" {ends}/>'


def _path(name: str, points: Sequence[tuple[float, float]]) -> str:
    pieces = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    pieces += [f"L{x:.1f},{y:.1f}" for _, (x, y) in pairwise(points)]
    return f'<path class="{name}" d="{"".join(pieces)}"/>'


def _words(x: float, y: float, text: str, anchor: str, name: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{name}">'
        f"{escape(text)}</text>"
    )
