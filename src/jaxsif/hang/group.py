"""Whether a group hangs, and on which rank, from what its ranks' observers report; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxsif.core.records import MovingRecord, Record, StalledRecord
from jaxsif.core.text import format_ranks
from jaxsif.hang.activity import BLOCKED

# Frames of the interpreter and of libraries: a user looks for a line of the program.
_LIBRARIES = ("/site-packages/", "/dist-packages/", "<frozen ", "/lib/python3")


@dataclass(frozen=True)
class Standstill:
    """What one rank's observer reported last.

    Attributes:
      since_s: when the rank stopped, by the clock of the reader.
      state: a constant of `activity`.
      stack: `file:line in function`, innermost first.
      waits_in: the kernel's function that the main thread waits in, if known.
      node: the rank's node.
    """

    since_s: float
    state: str
    stack: tuple[str, ...]
    waits_in: str | None = None
    node: str = ""

    @property
    def line(self) -> str:
        """The innermost line of the program itself: `file:line in function`."""
        return program_line(self.stack)


@dataclass(frozen=True)
class Hang:
    """A group in which nothing moves.

    Attributes:
      ranks: those that the others wait for; empty if all stand at one line.
      common_line: where the others, or all, stand.
      for_s: since when no rank has moved.
      is_certain: whether each of `ranks` is known not to wait for another rank.
      group: every rank.
    """

    ranks: tuple[int, ...]
    common_line: str
    for_s: float
    is_certain: bool = False
    group: Mapping[int, Standstill] = field(default_factory=dict, compare=False)


class Standstills:
    """What the observers of a job's ranks reported last, by step and rank."""

    def __init__(self) -> None:
        self._steps: dict[str, dict[int, Standstill | None]] = defaultdict(dict)

    def add(self, record: Record, now_s: float) -> bool:
        """Add a record; return whether it is an observer's.

        `now_s`: the reader's clock, for those of nodes may disagree.
        """
        if isinstance(record, MovingRecord):
            self._steps[record.step][record.rank] = None
            return True
        if not isinstance(record, StalledRecord):
            return False
        since_s = now_s - record.stalled_s
        before = self._steps[record.step].get(record.rank)
        self._steps[record.step][record.rank] = Standstill(
            # A rank that stands still in another way stands still since it first did.
            min(since_s, before.since_s) if before else since_s,
            record.state,
            tuple(record.stack),
            record.waits_in,
            record.node,
        )
        return True

    def find_hang(self, processes: int, limit_s: float, now_s: float) -> Hang | None:
        """The hang of a step in which all of `processes` ranks stand still."""
        for ranks in self._steps.values():
            if len(ranks) >= processes:
                hang = find_hang(ranks, limit_s, now_s)
                if hang is not None:
                    return hang
        return None


def find_hang(
    ranks: Mapping[int, Standstill | None], limit_s: float, now_s: float
) -> Hang | None:
    """The hang of a group; None while any rank moves or has not reported.

    Args:
      ranks: every rank of the group; None: it moves.
      limit_s: how long all must have stood still.
    """
    still = {rank: s for rank, s in ranks.items() if s is not None}
    if not still or len(still) < len(ranks):
        return None
    for_s = now_s - max(s.since_s for s in still.values())
    # A rank that waits for another one does not run at all; one that runs now and then
    # may be amid a slow step.
    if for_s < limit_s or all(s.state != BLOCKED for s in still.values()):
        return None
    waiting = {rank: s for rank, s in still.items() if _may_wait(s)}
    common = _common_line(waiting or still)
    not_waiting = still.keys() - waiting.keys()
    # Without a rank that waits for it, none can be said to hold the others up.
    if waiting and not_waiting:
        named = tuple(sorted(not_waiting))
        return Hang(named, common, for_s, is_certain=True, group=still)
    others = [rank for rank, s in still.items() if s.line != common]
    return Hang(tuple(sorted(others)), common, for_s, group=still)


def program_line(stack: tuple[str, ...]) -> str:
    """The innermost frame outside libraries; the innermost one if there is none."""
    own = (frame for frame in stack if not any(x in frame for x in _LIBRARIES))
    return next(own, stack[0] if stack else "an unknown line")


def _common_line(ranks: Mapping[int, Standstill]) -> str:
    """Where most ranks are."""
    return Counter(s.line for s in ranks.values()).most_common(1)[0][0]


def _may_wait(rank: Standstill) -> bool:
    """Whether the rank may wait for another one: as JAX does, in a futex."""
    is_other_call = rank.waits_in is not None and "futex" not in rank.waits_in
    return rank.state == BLOCKED and not is_other_call


def format_stacks(hang: Hang) -> str:
    """The stack of every rank; equal ones once, the named ranks' first."""
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for rank, still in sorted(hang.group.items()):
        groups[still.state, still.stack].append(rank)
    named = set(hang.ranks)
    ordered = sorted(groups.items(), key=lambda x: (named.isdisjoint(x[1]), len(x[1])))
    parts = []
    for (state, stack), ranks in ordered:
        frames = "".join(f"  {frame}\n" for frame in stack)
        parts.append(f"{format_ranks(ranks)}: {state}, innermost frame first\n{frames}")
    return "\n".join(parts)
