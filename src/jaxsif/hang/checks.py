"""The check of the verdict on a group in which no rank makes progress."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from jaxsif.core.evidence import Finding, StepEvidence
from jaxsif.core.text import format_ranks_and_nodes, format_seconds
from jaxsif.hang import activity
from jaxsif.hang.group import Hang

_STATES = {
    activity.BLOCKED: "waits",
    activity.IDLE: "polls",
    activity.SPINNING: "runs an empty loop",
    activity.STOPPED: "is stopped (SIGSTOP)",
    activity.DISK_WAIT: "waits for a disk (state D)",
    activity.HOLDS_GIL: "is in a call that holds Python's lock",
}
_REMEDIES = {
    activity.STOPPED: "find out what stopped the process; kill -CONT continues it",
    activity.DISK_WAIT: "check the node's file systems: the kernel waits for one",
}
_REMEDY = (
    "see the stacks of all ranks in the file NAME-JOB.stacks; JAX_SIF_HANG_S sets how"
    " long a group may stand still, and 0 lets it"
)


def group_hangs(case: StepEvidence) -> Iterator[Finding]:
    """The ranks for which the others wait, by the line at which they stand."""
    if case.hang is not None:
        yield from findings(case.hang)


def findings(hang: Hang) -> Iterator[Finding]:
    """One for each place at which a named rank stands."""
    kind = "hang" if hang.is_certain else "standstill"
    for (state, _), ranks in _places(hang).items():
        yield Finding(
            kind,
            _describe(hang, state, ranks),
            _REMEDIES.get(state, _REMEDY),
            tuple(ranks),
            is_warning=not hang.is_certain,
        )


def describe(hang: Hang) -> list[str]:
    """A clause for each place at which a named rank stands."""
    return [_describe(hang, state, r) for (state, _), r in _places(hang).items()]


def _places(hang: Hang) -> dict[tuple[str, str], list[int]]:
    """The named ranks by state and line; all ranks of the commonest if none is named."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for rank, still in sorted(hang.group.items()):
        if rank in hang.ranks or (not hang.ranks and still.line == hang.common_line):
            places[still.state, still.line].append(rank)
    return places


def _describe(hang: Hang, state: str, ranks: list[int]) -> str:
    who = format_ranks_and_nodes((rank, hang.group[rank].node) for rank in ranks)
    line = hang.group[ranks[0]].line
    text = f"{who}: {_STATES.get(state, state)} at {line}"
    if hang.ranks and len(hang.ranks) < len(hang.group):
        text += f", while the other ranks wait at {hang.common_line}"
    return f"{text}; no rank has moved for {format_seconds(hang.for_s)}"
