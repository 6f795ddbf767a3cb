"""Ranks and nodes in words, and in groups; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jaxsif.core import hostlist
from jaxsif.core.history import Stories, Story

# No line of a verdict lists more ranks than a person reads.
_MOST_NAMED = 8


def where(stories: Sequence[Story]) -> str:
    """`rank 5 on node2`, `ranks 4-7 on node2`, `ranks 0-3 on node1, 4-7 on node2`."""
    by_node: dict[str, list[int]] = defaultdict(list)
    for story in stories:
        by_node[story.node].append(story.rank)
    named = list(by_node.items())[:_MOST_NAMED]
    text = ", ".join(f"{spans(ranks)} on {node}" for node, ranks in named)
    more = len(by_node) - len(named)
    plural = "s" if len(stories) > 1 else ""
    return f"rank{plural} {text}" + (f" and {more} more nodes" if more else "")


def spans(ranks: Iterable[int]) -> str:
    """`0-3, 7`, as many as a line bears."""
    return hostlist.spans(ranks, _MOST_NAMED)


def numbers_of(stories: Iterable[Story]) -> tuple[int, ...]:
    """The ranks' numbers, each once, in order."""
    return tuple(sorted({story.rank for story in stories}))


def by_arrival(stories: Iterable[Story], phase: str) -> list[Story]:
    """Those that told a phase, the first to be heard first."""
    told = [story for story in stories if phase in story.told]
    return sorted(told, key=lambda story: story.heard[phase])


def by_differing(
    stories: Stories, phase: str, name: str, expected: set[Any]
) -> Iterator[tuple[Any, list[Story]]]:
    """Each value of a fact that was not expected, with the ranks that told it."""
    by_value: dict[Any, list[Story]] = defaultdict(list)
    for story in stories.values():
        value = story.fact(phase, name)
        if value is not None and value not in expected:
            by_value[value].append(story)
    yield from by_value.items()
