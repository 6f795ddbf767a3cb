"""What each node has cost, summed over the attempts of many jobs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jaxsif.core.attempts_file import Attempt, AttemptsFile

# As many nodes an --exclude= list names.
WORST = 3


@dataclass
class NodeCost:
    """The attempts that ended because of one node.

    `jobs` are their numbers, `kinds` the causes; `left_out` counts the decisions to use
    it no more, which need certain evidence or a second suspicion. `device_hours` are
    those from the last step before to the first step after.
    """

    node: str
    attempts: int = 0
    left_out: int = 0
    device_hours: float = 0.0
    jobs: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)


def node_costs(files: Sequence[AttemptsFile]) -> list[NodeCost]:
    """All nodes that any attempt names, the most expensive first."""
    found: dict[str, NodeCost] = {}
    for file in files:
        for attempt, lost_s in _lost_seconds(file.attempts):
            left_out = {n.node: n.reason for n in attempt.decision.left_out}
            named = dict.fromkeys([*left_out, *_named(attempt)])
            for node in named:
                cost = found.setdefault(node, NodeCost(node))
                cost.attempts += 1
                cost.left_out += node in left_out
                cost.device_hours += file.devices * lost_s / 3600 / len(named)
                cost.jobs.add(file.job)
                cost.kinds.add(attempt.cause.kind if attempt.cause else left_out[node])
    return sorted(found.values(), key=lambda c: (-c.left_out, -c.device_hours, c.node))


def to_exclude(costs: Sequence[NodeCost]) -> list[str]:
    """The worst nodes of those that were left out at least once."""
    return sorted(cost.node for cost in costs[:WORST] if cost.left_out)


def _named(attempt: Attempt) -> tuple[str, ...]:
    """The nodes of the cause, unless it names all."""
    if attempt.cause is None or set(attempt.cause.nodes) >= set(attempt.nodes):
        return ()
    return attempt.cause.nodes


def _lost_seconds(attempts: Sequence[Attempt]) -> Iterator[tuple[Attempt, float]]:
    """Each failed attempt, and the time from its last step to the next one's first."""
    for attempt, after in zip(attempts, [*attempts[1:], None], strict=True):
        if attempt.decision.action == "done":
            continue
        begin_s = attempt.last_time or attempt.started
        end_s = attempt.ended
        if after is not None:
            end_s = after.first_time or after.started
        yield attempt, max(0.0, end_s - begin_s)
