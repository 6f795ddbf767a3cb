"""Format, sort and group ranks and nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from jaxsif.core.history import Histories, RankHistory
from jaxsif.core.text import (
    MAX_ROWS,
    format_ranks_and_nodes,
    format_table,
    not_shown,
)

if TYPE_CHECKING:
    from jaxsif.core.verdict_file import RankReport

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


def rank_table(
    ranks: Sequence[RankHistory | RankReport],
    named_ranks: Container[int],
    limit: int = MAX_ROWS,
) -> list[str]:
    """The ranks, their devices and last phases as lines; none without ranks.

    Of more than `limit` ranks only those that findings name or that are not done.
    """
    if not ranks:
        return []
    shown = list(ranks)
    if len(shown) > limit:
        shown = [r for r in shown if r.rank in named_ranks or not r.is_done][:limit]
    rows = [("rank", "node", "local devices", "last phase")]
    rows += [(str(r.rank), r.node, _devices(r), r.phase) for r in shown]
    table = format_table(rows) if shown else []
    return [*table, *not_shown(len(shown), len(ranks), "rank")]


def _devices(rank: RankHistory | RankReport) -> str:
    if rank.devices is None:
        return "-"
    local, count = rank.devices.local_devices, rank.devices.local_count
    names = [device.uuid or f"id {device.id}" for device in local]
    more = f" and {count - len(local)} more" if count > len(local) else ""
    return f"{count}: {', '.join(names)}{more}"
