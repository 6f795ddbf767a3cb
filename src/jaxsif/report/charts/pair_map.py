"""A square of nodes by how fast they exchange; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jaxsif.core.evidence import FAIL_RATIO, WARN_RATIO
from jaxsif.core.text import format_gb_per_s
from jaxsif.core.verdict_file import NodePair
from jaxsif.html.markup import Chart, plain
from jaxsif.report.pairs import Cells

_MOST_TICKS = 40
# The end of the colours, as a part of the median.
_MAX_RATIO = 1.2


def pair_map(cells: Cells, slow_nodes: set[str]) -> Chart:
    """A square of nodes: blue is as fast as the median, orange is slow."""
    count = len(cells.groups)
    labels = [_nodes_label(nodes, slow_nodes) for nodes in cells.groups]
    ticks = _ticks([bool(slow_nodes & set(nodes)) for nodes in cells.groups])
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


def _nodes_label(nodes: Sequence[str], slow_nodes: set[str]) -> str:
    label = plain(nodes[0] if len(nodes) == 1 else f"{nodes[0]} … {nodes[-1]}")
    return f"<b>✗ {label}</b>" if slow_nodes & set(nodes) else label


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
        "z": [[pair and pair.ratio for pair in row] for row in cells.slowest],
        "text": [[pair and _pair_words(pair) for pair in row] for row in cells.slowest],
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": 0,
        "zmax": _MAX_RATIO,
        # Slow is orange, near the median pale, fast blue: red and green play no part.
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
        lines.insert(1, format_gb_per_s(pair.gb_per_s))
    if pair.ratio is not None:
        lines[1] += f", {pair.ratio:.2f} of the median"
    if pair.timed_out:
        lines.append("an exchange timed out")
    if pair.wrong:
        lines.append(f"{pair.wrong:,} wrong elements")
    return "<br>".join(map(plain, lines))


def _map_words(cells: Cells) -> str:
    found = {pair for row in cells.slowest for pair in row if pair is not None}
    known = [pair for pair in found if pair.ratio is not None]
    if not known:
        return "Map of node pairs: no exchange came to its end."
    slowest = min(known, key=lambda pair: (pair.ratio or 0.0, pair.nodes))
    return (
        f"Map of the pairs of {len(cells.groups)} nodes or groups; the slowest is"
        f" {slowest.name} with {format_gb_per_s(slowest.gb_per_s or 0.0)}."
    )
