"""Find ranks that stopped reporting before the group was formed."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from jaxsif.core.records import (
    ImportingRecord,
    Record,
    StartedRecord,
    WaitingRecord,
    WarningsRecord,
)


@dataclass
class _Rank:
    """`reports` are the numbers of its last records; `limit`: how many of each other
    rank's it may miss."""

    limit: int
    limit_importing: int
    last: int
    reports: deque[int] = field(default_factory=deque)
    is_importing: bool = False

    @property
    def allowed(self) -> int:
        return self.limit_importing if self.is_importing else self.limit

    @property
    def most(self) -> int:
        return max(self.limit, self.limit_importing)


class Silence:
    """Compares ranks by the order of their records, without a clock.

    Until it has connected a rank reports at regular intervals that it is alive. It is
    silent once every other rank has reported a given number of times since its last
    record: if the whole job or its reader is suspended or slow, no rank is ahead.
    """

    def __init__(self) -> None:
        # The ranks that were silent first; what comes later follows from that.
        self.ranks: frozenset[int] = frozenset()
        self._ranks: dict[int, _Rank] = {}
        self._processes = self._count = 0
        # Who has reported since the last look, and how many had before that.
        self._since_look: set[int] = set()
        self._in_round = 1 << 30
        self._is_over = False

    def add(self, record: Record) -> None:
        """Add one record of the step."""
        if self._is_over:
            return
        self._count += 1
        if isinstance(record, StartedRecord):
            self._start(record)
        elif record.rank in self._ranks and isinstance(record, WaitingRecord):
            self._report(record.rank)
        elif record.rank in self._ranks and isinstance(record, ImportingRecord):
            rank = self._ranks[record.rank]
            rank.last, rank.is_importing = self._count, not record.is_over
        elif not isinstance(record, WarningsRecord):
            # The group is formed, or is ending: JAX's heartbeats and Slurm take over.
            self._is_over = True

    def _start(self, record: StartedRecord) -> None:
        limits = record.may_miss
        if limits is None:
            # It reports nothing of the kind: nothing follows from its silence.
            self._is_over = True
            return
        self._processes = record.processes
        self._ranks[record.rank] = _Rank(limits[0], limits[1], self._count)

    def _report(self, number: int) -> None:
        rank = self._ranks[number]
        rank.last = self._count
        rank.reports.append(self._count)
        if len(rank.reports) > rank.most:
            rank.reports.popleft()
        # Not at every report, however many ranks there are.
        if number in self._since_look or len(self._since_look) + 1 >= self._in_round:
            self._in_round = len(self._since_look | {number})
            self._since_look.clear()
            self._look()
        else:
            self._since_look.add(number)

    def _look(self) -> None:
        if len(self._ranks) < self._processes:
            return
        for allowed in sorted({rank.allowed for rank in self._ranks.values()}):
            found = self._silent(allowed)
            if found:
                self.ranks, self._is_over = found, True
                return

    def _silent(self, allowed: int) -> frozenset[int]:
        """The ranks since whose last record every other one has reported so often."""
        order = sorted(self._ranks, key=lambda number: self._ranks[number].last)
        # The oldest of the last `allowed` reports, of all from here on.
        oldest = len(order) * [0]
        earliest = self._count
        for index in reversed(range(len(order))):
            reports = self._ranks[order[index]].reports
            mark = reports[-allowed] if len(reports) >= allowed else 0
            oldest[index] = earliest = min(earliest, mark)
        silent: set[int] = set()
        for index, number in enumerate(order[:-1]):
            rank = self._ranks[number]
            if rank.allowed > allowed:
                break
            silent.add(number)
            if oldest[index + 1] > rank.last:
                return frozenset(silent)
        return frozenset()
