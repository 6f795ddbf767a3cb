"""Format, sort and group ranks and nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from jaxsif.core.history import Histories, RankHistory
from jaxsif.core.text import format_ranks_and_nodes

T = TypeVar("T")


def where(histories: Sequence[RankHistory]) -> str:
    """`rank 5 on node2`, `ranks 4-7 on node2`, `ranks 0-3 on node1, 4-7 on node2`."""
    return format_ranks_and_nodes((history.rank, history.node) for history in histories)


def ranks_of(histories: Iterable[RankHistory]) -> tuple[int, ...]:
    """The ranks' numbers, unique and sorted."""
    return tuple(sorted({history.rank for history in histories}))


def sorted_by_arrival(
    histories: Iterable[RankHistory], phase: str
) -> list[RankHistory]:
    """The ranks that reported a phase, in order of arrival."""
    reporting = [history for history in histories if phase in history.phases]
    return sorted(reporting, key=lambda history: history.arrival[phase])


def group_by_value(
    histories: Histories,
    value_of: Callable[[RankHistory], T | None],
    expected: set[T],
) -> Iterator[tuple[T, list[RankHistory]]]:
    """Each unexpected value, with its ranks; None is no value."""
    by_value: dict[T, list[RankHistory]] = defaultdict(list)
    for history in histories.values():
        value = value_of(history)
        if value is not None and value not in expected:
            by_value[value].append(history)
    yield from by_value.items()
