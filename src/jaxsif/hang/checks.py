"""The check of the verdict on a group in which no rank makes progress."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from jaxsif.core.evidence import Finding, StepEvidence
from jaxsif.core.text import format_ranks_and_nodes, format_seconds
from jaxsif.hang import activity
from jaxsif.hang.group import Standstill

_STATES = {
    activity.BLOCKED: "waits",
    activity.IDLE: "waits",
    activity.SPINNING: "runs a loop",
    activity.STOPPED: "is stopped (SIGSTOP)",
    activity.DISK_WAIT: "waits for a disk (state D)",
    activity.HOLDS_GIL: "is in a call that holds Python's lock",
}
_REMEDIES = {
    activity.STOPPED: "find out what stopped the process; kill -CONT continues it",
    activity.DISK_WAIT: "check the node's file systems: the kernel waits for one",
}
_REMEDY = "see the stacks of all ranks; what stands at that line never ended"


def group_hangs(case: StepEvidence) -> Iterator[Finding]:
    """The ranks on which the others wait, by the line at which they stand."""
    hang = case.hang
    if hang is None:
        return
    places: dict[tuple[str, str], list[tuple[int, Standstill]]] = defaultdict(list)
    for rank in hang.ranks:
        still = hang.group[rank]
        places[still.state, still.line].append((rank, still))
    for (state, line), group in places.items():
        ranks = format_ranks_and_nodes((rank, still.node) for rank, still in group)
        yield Finding(
            "hang",
            f"{ranks} {_STATES.get(state, state)} at {line}, while the other ranks wait at"
            f" {hang.common_line}; no rank moved for {format_seconds(hang.for_s)}",
            _REMEDIES.get(state, _REMEDY),
            tuple(rank for rank, _ in group),
        )
