"""Whether a group hangs, and on which rank, from what its ranks' observers report; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxsif.core.records import MovingRecord, Record, StalledRecord
from jaxsif.core.text import format_ranks
from jaxsif.hang.activity import (
    BLOCKED,
    HOLDS_GIL,
    IDLE,
    SPINNING,
    STOPPED,
    UNKNOWN_CALL,
)
from jaxsif.hang.limit import ONE_PLACE_FACTOR, repeat_s

# Frames of the interpreter and of libraries: a user looks for a line of the program.
_LIBRARIES = ("/site-packages/", "/dist-packages/", "<frozen ", "/lib/python3")
# Functions of the kernel in which a thread waits for no other process: a time, a lock.
_SLEEPS = ("nanosleep",)
_LOCKS = ("futex",)
# The other end of a FIFO that was opened.
_FIFO = ("wait_for_partner",)
# Frames of Python's library that wait for a lock of the process.
_LOCK_FRAMES = ("/threading.py:", "/queue.py:")
# Frames of Python's library in which a thread waits for its own process, never for JAX.
_WAITS_INSIDE = ("threading.py:", "queue.py:", "subprocess.py:", "socketserver.py:")


@dataclass(frozen=True)
class Standstill:
    """What one rank's observer reported last.

    Attributes:
      since_s: when the rank stopped, by the clock of the reader.
      state: a constant of `activity`.
      stack: `file:line in function`, innermost first.
      waits_in: the kernel's function that the main thread waits in, if known.
      node: the rank's node.
      reported_s: when the report came.
      is_alone: whether its other threads only wait for one another.
    """

    since_s: float
    state: str
    stack: tuple[str, ...]
    waits_in: str | None = None
    node: str = ""
    reported_s: float = 0.0
    is_alone: bool = False

    @property
    def line(self) -> str:
        """The innermost line of the program itself: `file:line in function`."""
        return program_line(self.stack)

    @property
    def may_make_progress(self) -> bool:
        """Whether it may be amid slow steps: it runs now and then, and does not sleep."""
        return self.state == IDLE and "nanosleep" not in (self.waits_in or "futex")

    @property
    def is_stuck(self) -> bool:
        """Whether nothing outside of the process can let it go on, nor another thread.

        Of everything else a healthy program may wait for as long: a child that waits for
        another job, a slow file system, a server without requests, a person.
        """
        if self.state == BLOCKED:
            is_lock = self._waits_in(_LOCKS) and self._is_in_library(_LOCK_FRAMES)
            return (is_lock and self.is_alone) or self._waits_in(_SLEEPS + _FIFO)
        if self.state == HOLDS_GIL:
            return self.waits_in is None or self._waits_in(_LOCKS + _SLEEPS)
        return self.state == STOPPED or (self.state == SPINNING and self.is_alone)

    @property
    def may_wait_for_ranks(self) -> bool:
        """Whether it waits as JAX does: in a futex, in no function of Python's library."""
        is_futex = self.waits_in in (None, UNKNOWN_CALL) or self._waits_in(_LOCKS)
        is_inside = self._is_in_library(_WAITS_INSIDE)
        return self.state == BLOCKED and is_futex and not is_inside

    @property
    def is_in_jax(self) -> bool:
        """Whether the program called JAX, by its frames."""
        return any("/jax/" in frame for frame in self.stack[:1])

    @property
    def waits_only_in_jax(self) -> bool:
        """Whether it waits in JAX, and no other thread may serve it."""
        return self.is_in_jax and self.is_alone and self._waits_in(_LOCKS)

    def _is_in_library(self, files: tuple[str, ...]) -> bool:
        leaf = self.stack[0] if self.stack else ""
        return "/lib/python3" in leaf and any(file in leaf for file in files)

    def _waits_in(self, names: tuple[str, ...]) -> bool:
        return any(name in (self.waits_in or "") for name in names)


@dataclass(frozen=True)
class Hang:
    """A group in which nothing moves.

    Attributes:
      ranks: those that the others wait for; empty if all stand at one line.
      common_line: where the others, or all, stand.
      for_s: since when no rank has moved.
      is_certain: whether no healthy program looks so; otherwise it is a warning.
      group: every rank.
      step: the key of the step.
    """

    ranks: tuple[int, ...]
    common_line: str
    for_s: float
    is_certain: bool = False
    group: Mapping[int, Standstill] = field(default_factory=dict, compare=False)
    step: str = field(default="", compare=False)


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
        if not record.is_requested:
            self._steps[record.step][record.rank] = standstill(record, now_s)
        return True

    def clear(self) -> None:
        """Forget all: what still stands is reported again."""
        self._steps.clear()

    def find_hang(self, processes: int, limit_s: float, now_s: float) -> Hang | None:
        """The hang of a step in which all of `processes` ranks stand still."""
        # Of a rank that ended with its observer there is no further report.
        is_old_s = now_s - 3 * repeat_s(limit_s)
        for step, ranks in self._steps.items():
            if len(ranks) >= processes:
                known = {
                    r: s if s and s.reported_s >= is_old_s else None
                    for r, s in ranks.items()
                }
                hang = find_hang(known, limit_s, now_s)
                if hang is not None:
                    return replace(hang, step=step)
        return None


def standstill(record: StalledRecord, now_s: float) -> Standstill:
    """The record as of `now_s`, by the reader's clock."""
    return Standstill(
        now_s - record.stalled_s,
        record.state,
        tuple(record.stack),
        record.waits_in,
        record.node,
        now_s,
        record.is_alone,
    )


def find_hang(
    ranks: Mapping[int, Standstill | None], limit_s: float, now_s: float
) -> Hang | None:
    """The hang of a group; None while any rank may make progress or has not reported.

    Args:
      ranks: every rank of the group; None: it moves.
      limit_s: how long all must have stood still.
    """
    still = {rank: s for rank, s in ranks.items() if s and not s.may_make_progress}
    if not still or len(still) < len(ranks):
        return None
    for_s = now_s - max(s.since_s for s in still.values())
    if for_s < limit_s:
        return None
    waiting = {rank: s for rank, s in still.items() if s.may_wait_for_ranks}
    named = _named(still, waiting)
    if not named and for_s < ONE_PLACE_FACTOR * limit_s:
        return None
    common = _common_line(waiting or still)
    if len(waiting) == len(still):
        # At different lines of JAX: each waits for what the others have not called.
        is_certain = all(s.waits_only_in_jax for s in still.values())
    else:
        is_certain = all(still[rank].is_stuck for rank in named)
    is_certain = is_certain and bool(named)
    return Hang(tuple(sorted(named)), common, for_s, is_certain, still)


def _named(
    still: Mapping[int, Standstill], waiting: Mapping[int, Standstill]
) -> set[int]:
    """The ranks that hold the others up.

    Without a rank that waits for another one, none is known to be waited for: all may
    have finished, or sleep between two requests.
    """
    if not waiting:
        return set()
    elsewhere = still.keys() - waiting.keys()
    # A server or a poll beside a rank that certainly stands is not the cause.
    sure = {rank for rank in elsewhere if still[rank].is_stuck}
    return sure or set(elsewhere) or _minority(waiting)


def _minority(waiting: Mapping[int, Standstill]) -> set[int]:
    """Ranks at other lines than most; of two lines with as many ranks, both."""
    lines = Counter(s.line for s in waiting.values())
    most = max(lines.values())
    common = {line for line, count in lines.items() if count == most}
    if len(common) == 1:
        return {rank for rank, s in waiting.items() if s.line not in common}
    outside_jax = {rank for rank, s in waiting.items() if not s.is_in_jax}
    return outside_jax if 0 < len(outside_jax) < len(waiting) else set(waiting)


def program_line(stack: tuple[str, ...]) -> str:
    """The innermost frame outside libraries; the innermost one if there is none."""
    own = (frame for frame in stack if not any(x in frame for x in _LIBRARIES))
    return next(own, stack[0] if stack else "an unknown line")


def _common_line(ranks: Mapping[int, Standstill]) -> str:
    """Where most ranks are."""
    return Counter(s.line for s in ranks.values()).most_common(1)[0][0]


def format_stacks(ranks: Mapping[int, Standstill], named: tuple[int, ...] = ()) -> str:
    """The stack of every rank; equal ones once, named ranks' and rare ones first."""
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for rank, still in sorted(ranks.items()):
        groups[still.state, still.stack].append(rank)
    ordered = sorted(
        groups.items(), key=lambda x: (set(named).isdisjoint(x[1]), len(x[1]))
    )
    parts = []
    for (state, stack), members in ordered:
        frames = "".join(f"  {frame}\n" for frame in stack)
        parts.append(
            f"{format_ranks(members)}: {state}, innermost frame first\n{frames}"
        )
    return "\n".join(parts)
