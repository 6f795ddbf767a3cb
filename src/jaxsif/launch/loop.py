"""An event loop for descriptors, signals and timers in one thread."""
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
    """The event loop. A context manager, which restores the signal handlers."""

    def __init__(self) -> None:
        # epoll and kqueue do not support regular files.
        self._selector = selectors.PollSelector()
        # (time, order of registration, callback)
        self._timers: list[tuple[float, int, Call]] = []
        self._timer_count = 0
        self._wake, self._wakeup_fd = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wakeup_fd, False)
        self._on_signal: dict[int, Call] = {}
        self._handlers_before: dict[int, object] = {}
        self._wakeup_fd_before = -1

    def __enter__(self) -> Loop:
        self._wakeup_fd_before = signal.set_wakeup_fd(
            self._wakeup_fd, warn_on_full_buffer=False
        )
        self.watch(self._wake, READ, self._read_signals)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup_fd_before)
        self._selector.close()
        os.close(self._wake)
        os.close(self._wakeup_fd)

    def on_signal(self, number: signal.Signals, call: Call) -> None:
        """Signals that are ignored already, such as SIGHUP under nohup, stay ignored."""
        before = signal.getsignal(number)
        if before is signal.SIG_IGN:
            return
        self._handlers_before[number] = before
        self._on_signal[number] = call
        signal.signal(number, _wake_handler)

    def watch(self, descriptor: int, event: int, call: Call) -> None:
        """Calls whenever a descriptor can be read or written. Idempotent."""
        if descriptor not in self._selector.get_map():
            self._selector.register(descriptor, event, call)

    def remove(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def call_later(self, delay_s: float, call: Call) -> None:
        """Calls once after the delay."""
        self._timer_count += 1
        when_s = time.monotonic() + delay_s
        heapq.heappush(self._timers, (when_s, self._timer_count, call))

    def run_once(self) -> None:
        """Waits for the next events and calls their callbacks."""
        timeout_s = None
        if self._timers:
            timeout_s = max(0.0, self._timers[0][0] - time.monotonic())
        for key, _ in self._selector.select(timeout_s):
            key.data()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _read_signals(self) -> None:
        for number in dict.fromkeys(os.read(self._wake, 4096)):
            if number in self._on_signal:
                self._on_signal[number]()


def _wake_handler(number: int, frame: FrameType | None) -> None:
    """Intentionally empty: Python's wakeup fd wakes the loop."""
