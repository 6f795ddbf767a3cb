"""A rank's time limits, and the thread that ends it if it makes no progress."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType

from jaxsif.core.errors import UsageError
from jaxsif.core.records import (
    PHASES,
    DeadlineExceededRecord,
    RanksAtPosition,
    Record,
    Stamp,
    TerminatedRecord,
    WaitingRecord,
)

# JAX_SIF_DEADLINE_S applies to every phase, JAX_SIF_DEADLINE_DEVICES_S to one.
DEADLINE_VARIABLE = "JAX_SIF_DEADLINE_S"
HEARTBEAT_VARIABLE = "JAX_SIF_HEARTBEAT_S"
SWITCH_VARIABLE = "JAX_SIF_WATCHDOG"

# A rank that waits this long reports its position; in a healthy job none does.
WAITING_S = 3.0
# Then rank 0 compares all positions. In a diagnostic all ranks do the same, so one that
# is elsewhere for this long will not arrive.
COMPARING_S = 7.0

# Interval of a rank's reports until it has connected; longer with more ranks, so that
# there are at most 500 such records per second.
_REPORTING_S = 1.25
# `import jax` may load libraries from a slow file system, and holds the GIL meanwhile.
_IMPORTING_S = 60.0

# JAX's coordinator gets two heartbeats of every rank in its timeout; more ranks need
# more time.
_RANKS_PER_SECOND = 500


@dataclass(frozen=True)
class Limits:
    """In seconds; infinity if there is no limit."""

    # By the phase to be reached.
    deadlines_s: Mapping[str, float]
    heartbeat_s: int
    shutdown_s: int
    # Whether ranks at different positions are an error.
    is_lockstep: bool
    is_watched: bool = True
    # Interval between reports of a rank that has not connected yet.
    reporting_s: float = _REPORTING_S

    def deadline_s(self, phase: str) -> float:
        """The limit for the phase to be reached next."""
        return self.deadlines_s.get(phase, math.inf)

    def may_miss(self) -> tuple[int, int] | None:
        """Number of reports of all others after which a silent rank counts as dead.

        In general, corresponding to JAX's heartbeat timeout, and while importing JAX;
        None if ranks do not report.
        """
        if not self.is_watched:
            return None
        importing_s = max(_IMPORTING_S, self.heartbeat_s)
        return self._reports(self.heartbeat_s), self._reports(importing_s)

    def _reports(self, seconds: float) -> int:
        return 1 + math.ceil(seconds / self.reporting_s)


def diagnostic_limits(environment: Mapping[str, str], processes: int) -> Limits:
    """Limits for a program in diag/: every phase is short, except NCCL's start."""
    return _limits(environment, processes, 120.0, 120.0, 5, 10, is_lockstep=True)


def program_limits(environment: Mapping[str, str], processes: int) -> Limits:
    """Limits for a user's program, whose own phases may take any time."""
    return _limits(environment, processes, 300.0, math.inf, 30, 300, is_lockstep=False)


def _limits(
    environment: Mapping[str, str],
    processes: int,
    connect_s: float,
    phase_s: float,
    heartbeat_s: int,
    shutdown_s: int,
    *,
    is_lockstep: bool,
) -> Limits:
    every = _seconds(environment, DEADLINE_VARIABLE)
    deadlines_s = {}
    for phase in PHASES:
        own = _seconds(environment, f"JAX_SIF_DEADLINE_{phase.upper()}_S")
        default = connect_s if phase == "connected" else phase_s
        deadlines_s[phase] = own or every or default
    heartbeat = _seconds(environment, HEARTBEAT_VARIABLE)
    return Limits(
        deadlines_s,
        int(heartbeat or heartbeat_s + processes // _RANKS_PER_SECOND),
        shutdown_s,
        is_lockstep,
        is_watched=environment.get(SWITCH_VARIABLE, "on") != "off",
        reporting_s=_REPORTING_S + processes / _RANKS_PER_SECOND,
    )


def _seconds(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds) or seconds < 1.0:
        raise UsageError(
            f"{name} is {text!r}, expected a number of seconds, at least 1; unset it"
            " for the default"
        )
    return seconds


# The final report may be lost if the output is blocked.
_FINAL_WRITE_TIMEOUT_S = 2.0
# All ranks of a step find the same deadline expired within this time.
_FLUSH_DELAY_S = 0.5

Emit = Callable[[Record], None]


@dataclass(frozen=True)
class RankPosition:
    """A rank's reported position: the same for all ranks of a healthy job."""

    reached: str
    entered: str | None = None

    def __str__(self) -> str:
        return f"in {self.entered}" if self.entered else f"after {self.reached}"


class Watchdog:
    """Sleeps until a phase takes too long or a SIGTERM arrives.

    The program only reports its position. Everything else happens in its own thread, so
    it works even if the program waits in a collective forever.
    """

    def __init__(
        self, emit: Emit, stamp: Callable[[], Stamp], who: str, limits: Limits
    ) -> None:
        """
        Args:
          emit: writes a record.
          stamp: returns the fields of every record.
          who: this rank's label, e.g. `rank 5 on node2`.
        """
        self._emit = emit
        self._stamp = stamp
        self._who = who
        self._limits = limits
        self._where = RankPosition("start")
        self._since_s = time.monotonic()
        self._next_phase = "connected"
        self._has_reported = self._has_compared = False
        self._reported_s = self._since_s
        self._wake, self._wake_fd = os.pipe()
        os.set_blocking(self._wake_fd, False)
        # Set once there is a group: publish and compare positions.
        self.post: Callable[[str], None] | None = None
        self.compare: Callable[[str], list[RanksAtPosition] | None] | None = None

    def start(self) -> None:
        """Start the thread; JAX_SIF_WATCHDOG=off disables it."""
        if self._limits.is_watched:
            threading.Thread(target=self._watch, name="jax-sif", daemon=True).start()

    def reached(self, phase: str, next_phase: str) -> None:
        """Called at a reported phase; starts the clock of the next one."""
        self._next_phase = next_phase
        self._move(RankPosition(phase))

    def entered(self, collective: str) -> None:
        """Called before the program waits for all others."""
        self._move(RankPosition(self._where.reached, collective))

    def exit_on_sigterm(self) -> None:
        """Let SIGTERM end the process, even while it waits in a collective.

        JAX ignores SIGTERM after `jax.distributed.initialize()`. Python allows handlers
        only from the main thread; in another thread this does nothing.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if self._limits.is_watched and is_main:
            signal.set_wakeup_fd(self._wake_fd, warn_on_full_buffer=False)
            signal.signal(signal.SIGTERM, wake_thread_handler)

    def _move(self, where: RankPosition) -> None:
        self._where, self._since_s = where, time.monotonic()
        self._has_reported = self._has_compared = False
        self._wake_thread()

    def _wake_thread(self) -> None:
        # If the pipe is full, the thread is about to wake anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_fd, b"\0")

    def _watch(self) -> None:
        while True:
            if select.select([self._wake], [], [], self._pause_s())[0]:
                received = os.read(self._wake, 4096)
                # The program may have set its own handler since.
                is_ours = signal.getsignal(signal.SIGTERM) is wake_thread_handler
                if is_ours and signal.SIGTERM in received:
                    self._exit_on_sigterm()
                continue
            self._poll()

    def _age_s(self) -> float:
        return time.monotonic() - self._since_s

    def _pause_s(self) -> float | None:
        """Time until the next event; None: until woken."""
        events = [self._limits.deadline_s(self._next_phase)]
        if self._is_joining():
            events.append(self._report_due_s() - self._since_s)
        elif self._limits.is_lockstep and not self._has_reported:
            events.append(WAITING_S)
        if self._limits.is_lockstep and self.compare and not self._has_compared:
            events.append(COMPARING_S)
        first = min(events)
        return None if math.isinf(first) else max(first - self._age_s(), 0.01)

    def _poll(self) -> None:
        age_s = self._age_s()
        if age_s >= self._limits.deadline_s(self._next_phase):
            self._exit_on_deadline(age_s)
        if self._is_joining():
            if time.monotonic() >= self._report_due_s():
                self._reported_s = time.monotonic()
                self._report_waiting(age_s)
            return
        if not self._limits.is_lockstep:
            return
        if age_s >= WAITING_S and not self._has_reported:
            self._has_reported = True
            self._report_waiting(age_s)
        if age_s >= COMPARING_S and self.compare and not self._has_compared:
            self._has_compared = True
            positions = self.compare(str(self._where))
            if positions:
                self._exit_on_desync(age_s, positions)

    def _is_joining(self) -> bool:
        """Whether there is no group yet; only `verify` sees missing ranks then."""
        return self._next_phase == "connected"

    def _report_due_s(self) -> float:
        return self._reported_s + self._limits.reporting_s

    def _report_waiting(self, age_s: float) -> None:
        where = str(self._where)
        self._emit(
            WaitingRecord(
                **self._stamp(),
                waited_s=round(age_s, 1),
                position=where,
                source_line=_line(),
            )
        )
        if self.post:
            # The coordinator may be gone; this thread must not wait for it.
            threading.Thread(target=self.post, args=(where,), daemon=True).start()

    def _exit_on_deadline(self, age_s: float) -> None:
        text = (
            f"{self._who}: no {self._next_phase!r} after {age_s:.0f} s"
            f" ({self._where}, {_line()})"
        )
        self._end(text, 1, self._deadline_exceeded(age_s, []))

    def _exit_on_desync(self, age_s: float, positions: list[RanksAtPosition]) -> None:
        text = f"{self._who}: the ranks are at different places since {age_s:.0f} s"
        self._end(text, 1, self._deadline_exceeded(age_s, positions))

    def _deadline_exceeded(
        self, age_s: float, positions: list[RanksAtPosition]
    ) -> DeadlineExceededRecord:
        return DeadlineExceededRecord(
            **self._stamp(),
            waited_s=round(age_s, 1),
            position=str(self._where),
            source_line=_line(),
            missing_phase=self._next_phase,
            desynchronized=positions,
        )

    def _exit_on_sigterm(self) -> None:
        age_s = self._age_s()
        text = f"{self._who}: ended by SIGTERM ({self._where}, {_line()})"
        record = TerminatedRecord(
            **self._stamp(),
            waited_s=round(age_s, 1),
            position=str(self._where),
            source_line=_line(),
        )
        self._end(text, 128 + signal.SIGTERM, record, has_stacks=age_s > WAITING_S)

    def _end(
        self, text: str, status: int, record: Record, *, has_stacks: bool = True
    ) -> None:
        """Report the cause and end the process; Slurm then ends the step."""

        def report() -> None:
            self._emit(record)
            print(f"jax-sif: {text}", file=sys.__stderr__, flush=True)
            if has_stacks:
                faulthandler.dump_traceback(file=2, all_threads=True)

        writer = threading.Thread(target=report, daemon=True)
        writer.start()
        writer.join(_FINAL_WRITE_TIMEOUT_S)
        if isinstance(record, DeadlineExceededRecord):
            time.sleep(_FLUSH_DELAY_S)
        os._exit(status)


def wake_thread_handler(number: int, frame: FrameType | None) -> None:
    """Intentionally empty: Python's wakeup fd wakes the thread."""


def _line() -> str:
    """The program's current line outside of libraries, e.g. `train.py:42 in step`."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    innermost = frame
    while frame is not None and _is_library(frame.f_code.co_filename):
        frame = frame.f_back
    frame = frame or innermost
    if frame is None:
        return "no Python line"
    name = os.path.basename(frame.f_code.co_filename)
    return f"{name}:{frame.f_lineno} in {frame.f_code.co_name}"


def _is_library(path: str) -> bool:
    return "/site-packages/" in path or path.startswith(_LIBRARIES)


_LIBRARIES = (
    os.path.dirname(os.__file__),
    os.path.dirname(os.path.dirname(__file__)),
    "<frozen",
)
