"""Starts the ranks, ends all if one fails, and injects faults."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxsif.launch import faults, messages
from jaxsif.launch.environment import RankPlacement
from jaxsif.launch.faults import Fault
from jaxsif.launch.output import OutputForwarder
from jaxsif.launch.processes import Guard, RankProcess, exit_status

TIME_LIMIT_STATUS = 124
READER_GONE_STATUS = 128 + signal.SIGPIPE

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# A terminal and a container may deliver the same Ctrl-C twice within this time.
_SAME_INTERRUPT_S = 0.5
# A process that left its rank's session may keep the output open forever.
_DRAIN_S = 1.0


@dataclass(frozen=True)
class LaunchLimits:
    """Time between SIGTERM and SIGKILL, and the time limit of the launch, if any."""

    grace_s: float
    time_limit_s: float | None = None


class Supervisor:
    """One launch, in the running event loop."""

    def __init__(
        self,
        ranks: Sequence[RankProcess],
        output: OutputForwarder,
        limits: LaunchLimits,
        planned: Sequence[Fault],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ranks = ranks
        self._output = output
        self._limits = limits
        self._faults = planned
        self._status: int | None = None
        self._interrupted_s: float | None = None
        self._is_drained = False
        self._error: BaseException | None = None
        self._guard = Guard(limits.grace_s)

    async def run(
        self,
        args: Sequence[str],
        environment: Callable[[RankPlacement], Mapping[str, str]],
    ) -> int:
        """Starts all ranks and returns when all have ended. Raises KitError.

        Returns the exit status of the first failure, or 0.
        """
        self._install_handlers()
        try:
            self._start(args, environment)
            await self._wait_until(lambda: not any(r.is_running for r in self._ranks))
            await self._drain()
        finally:
            self._kill_all()
        self._output.complete_line()
        self._output.print_message(messages.summary(self._ranks, self._output.log_of))
        await self._wait_until(lambda: self._output.is_written)
        # This process is about to exit; a late Ctrl-C must not change its exit status.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
        return self._status or 0

    def _install_handlers(self) -> None:
        self._loop.set_exception_handler(self._on_error)
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in _ENDING_SIGNALS:
            # Those that are ignored already, such as SIGHUP under nohup, stay ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal_handler(number, self._interrupt, number)

    def _start(
        self,
        args: Sequence[str],
        environment: Callable[[RankPlacement], Mapping[str, str]],
    ) -> None:
        skipped = [fault.rank for fault in self._faults if fault.kind == faults.SKIP]
        for rank in self._ranks:
            if rank.place.rank in skipped:
                self._print_injected(rank, faults.SKIP)
                continue
            output, errors = self._output.open(rank.place)
            try:
                rank.start(args, environment(rank.place), output, errors)
            finally:
                for end in {output, errors}:
                    os.close(end)
            self._guard.watch(rank.group)
        for fault in self._faults:
            if fault.kind != faults.SKIP:
                self._loop.call_later(fault.after_s, partial(self._inject, fault))
        if self._limits.time_limit_s is not None:
            self._loop.call_later(self._limits.time_limit_s, self._on_time_limit)

    async def _wait_until(self, is_done: Callable[[], bool]) -> None:
        """Raises the error of an event handler, if there is one."""
        while not is_done():
            await self._output.changed.wait()
            self._output.changed.clear()
            if self._error is not None:
                raise self._error
            if self._output.write_error is not None:
                self._on_write_error(self._output.write_error)

    async def _drain(self) -> None:
        """Forwards the remaining output of the ranks, even to a slow reader."""
        self._loop.call_later(_DRAIN_S, self._on_drain_timeout)
        await self._wait_until(
            lambda: (
                self._output.is_written
                and (not self._output.is_open or self._is_drained)
            )
        )

    def _on_drain_timeout(self) -> None:
        self._is_drained = True
        self._output.changed.set()

    def _kill_all(self) -> None:
        """No rank may outlive the launch."""
        for rank in self._ranks:
            rank.kill()
        while any(rank.is_running for rank in self._ranks):
            self._reap()
            time.sleep(0.001)
        self._guard.close()
        self._output.close()

    # Event handlers.

    def _on_error(
        self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        self._error = self._error or error
        self._output.changed.set()

    def _reap(self) -> None:
        """Polls all ranks, so that a rank that hangs does not hide the others."""
        for rank in self._ranks:
            if rank.has_ended():
                self._guard.forget(rank.group)
                self._on_rank_exit(rank)
        self._output.changed.set()

    def _on_rank_exit(self, rank: RankProcess) -> None:
        if not rank.has_failed or messages.was_terminated_by_launcher(rank):
            return
        self._output.print_message(messages.failure(rank))
        self._end("", exit_status(rank.status or 0))

    def _end(self, reason: str, status: int) -> None:
        """Ends all running ranks: SIGTERM, then SIGKILL after the grace time."""
        if self._status is not None:
            return
        self._status = status
        running = [rank for rank in self._ranks if rank.is_running]
        if reason:
            self._output.print_message(messages.reason(reason))
        if running:
            self._output.print_message(
                messages.terminating(running, self._limits.grace_s)
            )
        for rank in running:
            rank.end()
        self._loop.call_later(self._limits.grace_s, self._kill)

    def _kill(self) -> None:
        for rank in self._ranks:
            rank.kill()

    def _interrupt(self, number: signal.Signals) -> None:
        """The first ends ranks, the second kills them, the third discards output."""
        now_s = time.monotonic()
        if self._interrupted_s and now_s - self._interrupted_s < _SAME_INTERRUPT_S:
            return
        self._interrupted_s = now_s
        if self._status is None:
            self._end(f"received {number.name}", 128 + number)
        elif any(rank.is_running for rank in self._ranks):
            self._kill()
        else:
            self._is_drained = True
            self._output.discard()

    def _on_time_limit(self) -> None:
        limit = f"time limit of {self._limits.time_limit_s:g} s reached"
        self._end(limit, TIME_LIMIT_STATUS)

    def _on_write_error(self, error: OSError) -> None:
        is_reader = error.errno == errno.EPIPE
        status = READER_GONE_STATUS if is_reader else 1
        self._end(f"cannot write to standard output ({error.strerror})", status)

    def _inject(self, fault: Fault) -> None:
        rank = self._ranks[fault.rank]
        if not rank.is_running or rank.is_terminating:
            self._output.print_message(messages.fault_not_injected(rank, fault))
            return
        self._print_injected(rank, fault.kind)
        if fault.kind == faults.KILL:
            rank.send(signal.SIGKILL)
        elif fault.kind == faults.STALL:
            rank.send(signal.SIGSTOP)
        else:
            self._slow_down(rank)

    def _slow_down(self, rank: RankProcess) -> None:
        """Alternately stops and continues the rank until it ends."""
        if not rank.is_running or rank.is_terminating:
            return
        number, pause_s = signal.SIGSTOP, faults.SLOW_PAUSE_S
        if rank.is_stopped:
            number, pause_s = signal.SIGCONT, faults.SLOW_RUN_S
        rank.send(number)
        self._loop.call_later(pause_s, partial(self._slow_down, rank))

    def _print_injected(self, rank: RankProcess, kind: str) -> None:
        self._output.print_message(messages.injected(rank, kind))
