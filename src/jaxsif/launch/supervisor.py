"""Starts the ranks, ends all when one fails, and does the faults that were asked for; on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from jaxsif.launch import faults, messages
from jaxsif.launch.faults import Fault
from jaxsif.launch.guard import Guard
from jaxsif.launch.loop import Loop
from jaxsif.launch.plan import Place
from jaxsif.launch.ranks import Rank, exit_status
from jaxsif.launch.streams import Streams

TIME_LIMIT_STATUS = 124
READER_GONE_STATUS = 128 + signal.SIGPIPE

# A terminal and a container may send the same Ctrl-C twice; people need longer.
_SAME_INTERRUPT_S = 0.5
# A process that left its rank's session may hold its output open for ever.
_DRAIN_S = 1.0


@dataclass(frozen=True)
class Limits:
    """In seconds: from SIGTERM to SIGKILL, and for all of the launch if it is limited."""

    grace_s: float
    time_limit_s: float | None = None


class Supervisor:
    """One launch. `run` returns its exit status: the first cause's, or 0."""

    def __init__(
        self,
        loop: Loop,
        streams: Callable[[Callable[[OSError], None]], Streams],
        ranks: Sequence[Rank],
        limits: Limits,
        planned: Sequence[Fault],
    ) -> None:
        """`streams` makes them, given whom to call when nobody reads any more."""
        self._loop = loop
        self._ranks = ranks
        self._limits = limits
        self._faults = planned
        self._status: int | None = None
        self._interrupted_s: float | None = None
        self._is_late = False
        self.streams = streams(self._reader_is_gone)
        self._guard = Guard(limits.grace_s)

    def run(
        self, words: Sequence[str], environment: Callable[[Place], Mapping[str, str]]
    ) -> int:
        """Starts every rank and returns when all have ended. Raises KitError."""
        self._listen()
        try:
            self._start(words, environment)
            self._turn_while(lambda: any(rank.is_running for rank in self._ranks))
            self._drain()
        finally:
            self._end_for_good()
        self.streams.complete()
        self.streams.say(messages.summary(self._ranks, self.streams.log_of))
        self._turn_while(lambda: not self.streams.is_written)
        return self._status or 0

    def _listen(self) -> None:
        self._loop.on_signal(signal.SIGCHLD, self._reap)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.on_signal(number, partial(self._interrupt, number))

    def _start(
        self, words: Sequence[str], environment: Callable[[Place], Mapping[str, str]]
    ) -> None:
        dropped = [fault.rank for fault in self._faults if fault.kind == faults.DROP]
        for rank in self._ranks:
            if rank.place.rank in dropped:
                self._announce(rank, faults.DROP)
                continue
            output, errors = self.streams.open(rank.place)
            try:
                rank.start(words, environment(rank.place), output, errors)
            finally:
                for end in {output, errors}:
                    os.close(end)
            self._guard.watch(rank.group)
        for fault in self._faults:
            if fault.kind != faults.DROP:
                self._loop.after(fault.after_s, partial(self._inject, fault))
        if self._limits.time_limit_s is not None:
            self._loop.after(self._limits.time_limit_s, self._limit_is_reached)

    def _turn_while(self, is_needed: Callable[[], bool]) -> None:
        self.streams.pump()
        while is_needed():
            self._loop.turn()
            self.streams.pump()

    def _drain(self) -> None:
        """What the ranks have printed is passed on, however slowly it is read."""
        self._loop.after(_DRAIN_S, self._is_drained_enough)
        self._turn_while(
            lambda: (
                not self.streams.is_written
                or (self.streams.is_open and not self._is_late)
            )
        )

    def _is_drained_enough(self) -> None:
        self._is_late = True

    def _end_for_good(self) -> None:
        """Whatever happened: no rank outlives the launch."""
        for rank in self._ranks:
            rank.kill()
        while any(rank.is_running for rank in self._ranks):
            self._reap()
            time.sleep(0.001)
        self._guard.dismiss()
        self.streams.close()

    # What happens meanwhile.

    def _reap(self) -> None:
        """All are asked, not in turn waited for: a rank that hangs hides no other."""
        for rank in self._ranks:
            if rank.has_ended():
                self._guard.forget(rank.group)
                self._take_note(rank)

    def _take_note(self, rank: Rank) -> None:
        if not rank.has_failed or messages.is_by_launcher(rank):
            return
        self.streams.say(messages.failure(rank))
        self._end("", exit_status(rank.status or 0))

    def _end(self, reason: str, status: int) -> None:
        """Ends all ranks that run: SIGTERM, and SIGKILL after the grace."""
        if self._status is not None:
            return
        self._status = status
        running = [rank for rank in self._ranks if rank.is_running]
        if reason:
            self.streams.say(messages.reason(reason))
        if running:
            self.streams.say(messages.ends(running, self._limits.grace_s))
        for rank in running:
            rank.end()
        self._loop.after(self._limits.grace_s, self._kill)

    def _kill(self) -> None:
        for rank in self._ranks:
            rank.kill()

    def _interrupt(self, number: signal.Signals) -> None:
        """The first ends the ranks, the second at once, the third waits for nobody."""
        now_s = time.monotonic()
        if self._interrupted_s and now_s - self._interrupted_s < _SAME_INTERRUPT_S:
            return
        self._interrupted_s = now_s
        if self._status is None:
            self._end(f"{number.name} came", 128 + number)
        elif any(rank.is_running for rank in self._ranks):
            self._kill()
        else:
            self.streams.give_up()
            self._is_late = True

    def _limit_is_reached(self) -> None:
        limit = f"the time limit of {self._limits.time_limit_s:g} s is reached"
        self._end(limit, TIME_LIMIT_STATUS)

    def _reader_is_gone(self, error: OSError) -> None:
        is_reader = error.errno == errno.EPIPE
        status = READER_GONE_STATUS if is_reader else 1
        self._end(f"standard output cannot be written ({error.strerror})", status)

    def _inject(self, fault: Fault) -> None:
        rank = self._ranks[fault.rank]
        if not rank.is_running or rank.is_told_to_end:
            self.streams.say(messages.too_late(rank, fault))
            return
        self._announce(rank, fault.kind)
        if fault.kind == faults.KILL:
            rank.send(signal.SIGKILL)
        elif fault.kind == faults.STALL:
            rank.send(signal.SIGSTOP)
        else:
            self._slow_down(rank)

    def _slow_down(self, rank: Rank) -> None:
        """Runs it and stops it by turns, until it is to end."""
        if not rank.is_running or rank.is_told_to_end:
            return
        number, pause_s = signal.SIGSTOP, faults.SLOW_STOPS_S
        if rank.is_stopped:
            number, pause_s = signal.SIGCONT, faults.SLOW_RUNS_S
        rank.send(number)
        self._loop.after(pause_s, partial(self._slow_down, rank))

    def _announce(self, rank: Rank, kind: str) -> None:
        self.streams.say(messages.injected(rank, kind))
