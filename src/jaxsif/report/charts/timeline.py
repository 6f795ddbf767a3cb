"""A chart of the timelines of the ranks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxsif.core.text import format_seconds, plural
from jaxsif.html.markup import Chart, colours, plain
from jaxsif.report.phases import LABELS, RankTimeline

_ROW_PX = 22


def timeline(timelines: Sequence[RankTimeline], slow_nodes: set[int]) -> Chart:
    """A bar for each rank, divided into its phases."""
    names = [_rank_label(life, slow_nodes) for life in timelines]
    ordered = [
        word for word in dict.fromkeys([*LABELS.values(), *_all_words(timelines)])
    ]
    data = [
        trace
        for word, colour in zip(ordered, colours(len(ordered)), strict=True)
        if (trace := _bars(word, colour, timelines, names))
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
    return Chart(data, layout, _timeline_words(timelines))


def _all_words(timelines: Sequence[RankTimeline]) -> list[str]:
    return [stretch.word for life in timelines for stretch in life.stretches]


def _rank_label(life: RankTimeline, slow_nodes: set[int]) -> str:
    label = f"{life.rank.rank} {plain(life.rank.node)}"
    return f"<b>✗ {label}</b>" if life.rank.rank in slow_nodes else label


def _bars(
    word: str, colour: str, timelines: Sequence[RankTimeline], names: Sequence[str]
) -> dict[str, Any] | None:
    found = [
        (name, life, stretch)
        for name, life in zip(names, timelines, strict=True)
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


def _timeline_words(timelines: Sequence[RankTimeline]) -> str:
    last = max(timelines, key=lambda life: life.end_s)
    return (
        f"What {plural(len(timelines), 'rank')} did when; the last to end is rank"
        f" {last.rank.rank} on {last.rank.node} after {format_seconds(last.end_s)}."
    )
