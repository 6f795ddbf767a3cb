"""Waits for outputs, signals and moments at once, in one thread; on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import heapq
import os
import selectors
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType

Call = Callable[[], None]
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Loop:
    """Calls back what was asked for. To be used in a `with` block, which gives signals back."""

    def __init__(self) -> None:
        # Not epoll or kqueue, which refuse regular files.
        self._selector = selectors.PollSelector()
        # (when, order of asking, what)
        self._timers: list[tuple[float, int, Call]] = []
        self._asked = 0
        self._wake, self._bell = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._bell, False)
        self._on_signal: dict[int, Call] = {}
        self._handlers_before: dict[int, object] = {}
        self._bell_before = -1

    def __enter__(self) -> Loop:
        self._bell_before = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        self.watch(self._wake, READ, self._hear_signals)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._bell_before)
        self._selector.close()
        os.close(self._wake)
        os.close(self._bell)

    def on_signal(self, number: signal.Signals, call: Call) -> None:
        """What was ignored from the start, as SIGHUP under nohup, stays ignored."""
        before = signal.getsignal(number)
        if before is signal.SIG_IGN:
            return
        self._handlers_before[number] = before
        self._on_signal[number] = call
        signal.signal(number, _leave_to_the_loop)

    def watch(self, descriptor: int, event: int, call: Call) -> None:
        """Calls whenever a descriptor can be read, or written; again is harmless."""
        if descriptor not in self._selector.get_map():
            self._selector.register(descriptor, event, call)

    def forget(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def after(self, delay_s: float, call: Call) -> None:
        """Calls once, when so much time has passed."""
        self._asked += 1
        when_s = time.monotonic() + delay_s
        heapq.heappush(self._timers, (when_s, self._asked, call))

    def turn(self) -> None:
        """Waits until something is to do, and does it."""
        timeout_s = None
        if self._timers:
            timeout_s = max(0.0, self._timers[0][0] - time.monotonic())
        for key, _ in self._selector.select(timeout_s):
            key.data()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _hear_signals(self) -> None:
        for number in dict.fromkeys(os.read(self._wake, 4096)):
            if number in self._on_signal:
                self._on_signal[number]()


def _leave_to_the_loop(number: int, frame: FrameType | None) -> None:
    """Python writes the number into the pipe; here is nothing left to do."""
