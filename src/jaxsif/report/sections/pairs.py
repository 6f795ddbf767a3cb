"""The page's part on pairs of nodes; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter

from jaxsif.core.evidence import WARN_RATIO
from jaxsif.core.text import format_gb_per_s, format_size, listed, plural
from jaxsif.core.verdict_file import NodePair, NodePairs
from jaxsif.html.markup import Markup, SectionBuilder, details, table, tag
from jaxsif.report.charts.pair_map import pair_map
from jaxsif.report.figures import Figures
from jaxsif.report.pairs import cells
from jaxsif.report.terminal import pair_row

_MOST_PAIRS = 100
_MOST_SLOW = 5


def section(frame: SectionBuilder, figures: Figures) -> Markup | None:
    """Nothing where no pair was measured."""
    found, verdict = figures.pairs, figures.verdict
    if not found.pairs:
        return None
    if len(found.nodes) < 3:
        return _only_pair(frame, found.pairs[0])
    square = cells(found)
    text = tag("p", _explained(found, square.nodes_per_cell))
    head = ("pair of nodes", "GB/s", "of median", "wrong elements")
    rows: list[tuple[object, ...]] = [pair_row(p) for p in found.pairs[:_MOST_PAIRS]]
    label = "Pairs of nodes, the slowest first"
    return frame.section(
        "pairs",
        "Pairs of nodes",
        text,
        _slowest_nodes(found),
        frame.chart("map", pair_map(square, set(verdict.named_ranks.values()))),
        details(
            f"The slowest {len(rows)} pairs as a table",
            table(head, rows, label=label),
        ),
    )


def _only_pair(frame: SectionBuilder, pair: NodePair) -> Markup:
    """Two nodes: nothing to compare their one pair with."""
    speed = "timed out" if pair.gb_per_s is None else format_gb_per_s(pair.gb_per_s)
    wrong = f", {pair.wrong:,} wrong elements" if pair.wrong else ""
    text = (
        f"{pair.name}: {speed} at {format_size(pair.size_bytes)}{wrong}; two nodes are"
        " one pair, with which nothing can be compared."
    )
    return frame.section("pairs", "Pairs of nodes", tag("p", text))


def _slowest_nodes(found: NodePairs) -> Markup:
    """In words, what the colours show."""
    slow = [p for p in found.pairs if p.timed_out or (p.ratio or 0) < WARN_RATIO]
    if not slow:
        return tag("p", f"No pair is slower than {WARN_RATIO:.2f} of the median.")
    counts = Counter(node for pair in slow for node in pair.nodes)
    most = [
        f"{node} with {count} of its {len(found.of_node(node))} partners"
        for node, count in counts.most_common(_MOST_SLOW)
        if count > len(found.of_node(node)) / 2
    ]
    nodes = f" Slow with most partners: {'; '.join(most)}." if most else ""
    named = listed(map(_slow_words, slow), _MOST_SLOW, between="; ")
    return tag(
        "p",
        tag("strong", f"Below {WARN_RATIO:.2f} of the median: "),
        f"{named}.",
        tag("strong", nodes) if nodes else None,
    )


def _explained(found: NodePairs, nodes_per_cell: int) -> str:
    """How to read the map."""
    pairs, nodes = len(found.pairs), len(found.nodes)
    middle = found.median_gb_per_s
    typical = f" The median pair has {format_gb_per_s(middle)}." if middle else ""
    groups = (
        f" Each cell holds the slowest pair of two groups of {nodes_per_cell} nodes."
        if nodes_per_cell > 1
        else ""
    )
    kinds = (
        " Pairs below one switch are compared with each other, and so are pairs across."
        if len({node.switch for node in found.nodes}) > 1
        else ""
    )
    return (
        f"{plural(pairs, 'pair')} of {plural(nodes, 'node')}, in the order of"
        f" switches where they are known.{typical}{kinds} Slow pairs are orange; a cross marks a"
        f" time-out or wrong elements; blank was not measured.{groups}"
    )


def _slow_words(pair: NodePair) -> str:
    if pair.ratio is None:
        return f"{pair.name} timed out"
    return f"{pair.name} {pair.ratio:.2f}"
