"""The findings in a job's output, in order: causes, symptoms, notes, consequences."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from jaxsif.core.naming import spans
from jaxsif.logs.catalogue import ROLES, Cause

_MOST_PLACES = 8
_MOST_FACT = 200


@dataclass(frozen=True)
class Line:
    """A line of a log: the log's name, the line's number, and its text, cut."""

    log: str
    number: int
    text: str


@dataclass
class CauseHits:
    """The hits of one cause: its first line, and the ranks and nodes concerned.

    `order` is the position of its first line among all lines of all logs.
    """

    cause: Cause
    line: Line
    order: int
    facts: dict[str, str]
    ranks: set[int] = field(default_factory=set)
    nodes: dict[str, None] = field(default_factory=dict)
    count: int = 1


@dataclass(frozen=True)
class LogCause:
    """A cause found in the output. `line` is the first of `count` lines."""

    cause: Cause
    text: str
    ranks: tuple[int, ...]
    nodes: tuple[str, ...]
    line: Line
    count: int
    role: str

    @property
    def follows(self) -> bool:
        """Whether it is only the consequence of another failure."""
        return self.role == "follows"


@dataclass(frozen=True)
class Diagnosis:
    """All that was recognised: causes first, then symptoms, notes and consequences.

    `records` counts the kit's own records, `newer_records` those of a newer kit,
    `suspicious` are the last lines that look like errors and have no known cause.
    """

    recognised: tuple[LogCause, ...]
    lines: int
    records: int
    newer_records: int
    suspicious: tuple[Line, ...]

    @property
    def causes(self) -> tuple[LogCause, ...]:
        """All but consequences; the first is the first cause."""
        return tuple(r for r in self.recognised if not r.follows)

    @property
    def consequences(self) -> tuple[LogCause, ...]:
        return tuple(r for r in self.recognised if r.follows)


NO_DIAGNOSIS = Diagnosis((), 0, 0, 0, ())


def conclude(
    tallies: Collection[CauseHits], node_of: Mapping[int, str]
) -> tuple[LogCause, ...]:
    """Order all hits, the first cause first.

    Of srun's messages about ended ranks, only the first can be a cause: srun terminates
    the other ranks because of it.
    """
    first = min((t.order for t in tallies if t.cause.ending), default=0)
    ordered = []
    for tally in tallies:
        is_late = tally.cause.ending and tally.order > first
        role = "follows" if is_late else tally.cause.role
        key = ROLES.index(role), tally.order
        ordered.append((key, replace(_recognised(tally, node_of), role=role)))
    return tuple(recognised for _, recognised in sorted(ordered, key=lambda o: o[0]))


def _recognised(tally: CauseHits, node_of: Mapping[int, str]) -> LogCause:
    cause = tally.cause
    ranks = tuple(sorted(tally.ranks))
    known = dict.fromkeys(node_of[rank] for rank in ranks if rank in node_of)
    nodes = tuple({**tally.nodes, **known})
    place = _place(ranks, nodes, node_of)
    facts = _Facts(who=place or "a rank")
    facts.update({k: v[:_MOST_FACT] for k, v in tally.facts.items()})
    text = cause.cause.format_map(facts)
    if place and "{who}" not in cause.cause:
        text = f"{place}: {text}"
    return LogCause(cause, text, ranks, nodes, tally.line, tally.count, cause.role)


class _Facts(dict[str, str]):
    """Shows `?` for a fact that the line did not name."""

    def __missing__(self, name: str) -> str:
        return "?"


def _place(
    ranks: Collection[int], nodes: Collection[str], node_of: Mapping[int, str]
) -> str:
    """`rank 5 on node2`, `ranks 0-3 on node1, 4-7 on node2`, `node2`, or nothing."""
    if not ranks:
        return _some(nodes)
    by_node: dict[str, list[int]] = defaultdict(list)
    only = next(iter(nodes)) if len(nodes) == 1 else ""
    for rank in ranks:
        by_node[node_of.get(rank, only)].append(rank)
    places = [
        f"{spans(group)} on {node}" if node else spans(group)
        for node, group in by_node.items()
    ]
    return f"rank{'s' if len(ranks) > 1 else ''} {_some(places)}"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _MOST_PLACES
    shown = ", ".join(listed[:_MOST_PLACES])
    return f"{shown} and {more} more" if more > 0 else shown
