"""The findings in a job's output, in order: causes, symptoms, notes, consequences."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import msgspec

from jaxsif.core.text import format_ranks_and_nodes, listed, shortened
from jaxsif.logs.catalogue import ROLES, Cause
from jaxsif.logs.error_lines import Line

Outcome = Literal["cause", "symptom", "nothing"]


@dataclass
class CauseHits:
    """The hits of one cause: its first line, and the ranks and nodes concerned.

    `order` is the position of its first line among all lines of all logs.
    """

    cause: Cause
    line: Line
    order: int
    fields: dict[str, str]
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
    def is_consequence(self) -> bool:
        """Whether it is only the consequence of another failure."""
        return self.role == "follows"


@dataclass(frozen=True)
class Diagnosis:
    """All that was recognised: causes first, then symptoms, notes and consequences.

    `records` counts the kit's own records, `other_version_records` those of another version,
    `error_lines` look like errors and have no known cause: those before the first
    cause (without one, the first symptom) in the first place, the most telling first.
    """

    recognised: tuple[LogCause, ...]
    lines: int
    records: int
    other_version_records: int
    error_lines: tuple[Line, ...]
    last_lines: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[LogCause, ...]:
        """What was recognised; consequences alone are symptoms: the failure is elsewhere."""
        if any(r.role in get_args(Outcome) for r in self.recognised):
            return self.recognised
        promoted = [
            replace(r, role="symptom") for r in self.recognised if r.is_consequence
        ]
        rest = [r for r in self.recognised if not r.is_consequence]
        return (*promoted, *rest)

    @property
    def causes(self) -> tuple[LogCause, ...]:
        """All but consequences; the first is the first cause."""
        return tuple(r for r in self.findings if not r.is_consequence)

    @property
    def outcome(self) -> Outcome:
        """Whether it says why something went wrong, or only that it did."""
        roles = {r.role for r in self.findings}
        return next((o for o in get_args(Outcome) if o in roles), "nothing")

    @property
    def consequences(self) -> tuple[LogCause, ...]:
        return tuple(r for r in self.findings if r.is_consequence)


NO_DIAGNOSIS = Diagnosis((), 0, 0, 0, ())


def summarize(
    hits: Collection[CauseHits], node_of: Mapping[int, str]
) -> tuple[LogCause, ...]:
    """Order all hits, the first cause first.

    Of srun's messages about ended ranks, only the first can be a cause: srun terminates
    the other ranks because of it.
    """
    first = min((t.order for t in hits if t.cause.task_exit), default=0)
    has_symptom = any(hit.cause.role == "symptom" for hit in hits)
    has_cause = any(h.cause.role == "cause" and not h.cause.if_failed for h in hits)
    ordered = []
    for hit in hits:
        cause = _in_context(hit.cause, hits)
        is_late = cause.task_exit and hit.order > first
        role = "follows" if is_late else cause.role
        if cause.if_failed and (has_cause or not has_symptom):
            role = "note"
        if role != "fact":
            key = ROLES.index(role), hit.order
            ordered.append((key, replace(_log_cause(hit, cause, node_of), role=role)))
    return tuple(recognised for _, recognised in sorted(ordered, key=lambda o: o[0]))


def _in_context(cause: Cause, hits: Collection[CauseHits]) -> Cause:
    """The row as it is meant beside the other rows of the log."""
    others = [hit.cause.id for hit in hits if hit.cause.id != cause.id]
    for beside in cause.beside:
        if fnmatch.filter(others, beside.ids):
            changes = {
                name: value
                for name in ("cause", "remedy", "role")
                if (value := getattr(beside, name))
            }
            return msgspec.structs.replace(cause, **changes)
    return cause


def _log_cause(hit: CauseHits, cause: Cause, node_of: Mapping[int, str]) -> LogCause:
    ranks = tuple(sorted(hit.ranks))
    known = dict.fromkeys(node_of[rank] for rank in ranks if rank in node_of)
    nodes = tuple({**hit.nodes, **known})
    location = _location(ranks, nodes, node_of)
    fields = _Fields(who=location or "a rank")
    fields.update({k: shortened(v) for k, v in hit.fields.items()})
    text = cause.cause.format_map(fields)
    if location and "{who}" not in cause.cause:
        text = f"{location}: {text}"
    return LogCause(cause, text, ranks, nodes, hit.line, hit.count, cause.role)


class _Fields(dict[str, str]):
    """Shows `?` for a fact that the line did not name."""

    def __missing__(self, name: str) -> str:
        return "?"


def _location(
    ranks: Collection[int], nodes: Collection[str], node_of: Mapping[int, str]
) -> str:
    """`rank 5 on node2`, `ranks 0-3 on node1, 4-7 on node2`, `node2`, or nothing."""
    if not ranks:
        return listed(nodes)
    only = next(iter(nodes)) if len(nodes) == 1 else ""
    return format_ranks_and_nodes((rank, node_of.get(rank, only)) for rank in ranks)
