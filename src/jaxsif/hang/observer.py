"""Beside a rank: a process that reports when the rank makes no progress."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from jaxsif.core.records import MovingRecord, Record, StalledRecord
from jaxsif.hang import activity
from jaxsif.hang.activity import UNKNOWN_CALL
from jaxsif.hang.limit import repeat_s
from jaxsif.hang.page import ASK_SIGNAL, DUMP_NAME, DUMP_SIGNAL, Page, Position

# The process looks at the rank this often.
_LOOK_S = 1.0
# A rank reports when it has stood still for this share of the limit, and when it moves.
_REPORT_SHARE = 0.5
# Long enough for the frames that tell where a program is; a record holds 4,096 bytes.
_MAX_FRAMES = 12
# How long the handler may take to write the stack.
_DUMP_S = 0.2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ALL_SWITCHES = ("\nvoluntary", "\nnonvoluntary")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Write = Callable[..., None]


class Observer:
    """Follows one rank; writes a record when it stops and when it goes on."""

    def __init__(
        self, rank: int, limit_s: float, write: Write, *, has_gpus: bool
    ) -> None:
        """
        Args:
          rank: the process.
          limit_s: how long a group may stand still.
          write: writes a record.
          has_gpus: whether busy threads may only be waiting.
        """
        self._rank = rank
        self._report_after_s = _REPORT_SHARE * limit_s
        self._repeat_s = repeat_s(limit_s)
        self._write = write
        self._has_gpus = has_gpus
        self._last: activity.Sample | None = None
        self._stillness = Stillness()
        self._reported: str | None = None
        self._reported_s = 0.0
        self._dumped: tuple[str, ...] = ()

    def look(self, position: Position) -> None:
        """Compare the rank with how it was at the last look."""
        before = self._last
        has_moved = before is None or position.place != before.position.place
        # Without the thread that looks it is not known where the program is.
        has_moved = has_moved or not _is_thread(self._rank, position.sampler)
        self._last = take_sample(self._rank, position, is_whole=not has_moved)
        now_s = self._last.time_s
        still = None
        # After a longer pause this process did not run either, as on a suspended machine.
        if before is not None and not has_moved and now_s - before.time_s < 5 * _LOOK_S:
            still = activity.stillness(before, self._last, has_gpus=self._has_gpus)
        self._stillness.add(still, now_s)
        if still is None:
            self.end()
            return
        state = self._stillness.state
        if self._stillness.duration_s(now_s) < self._report_after_s:
            return
        # Again and again, for what a rank reported before it was killed says nothing.
        if state != self._reported or now_s - self._reported_s >= self._repeat_s:
            self._reported, self._reported_s = state, now_s
            self._say(state, self._last)

    def lose(self) -> None:
        """Called while it is not known where the rank is: it may move."""
        self._stillness.add(None, time.monotonic())
        self.end()

    def end(self) -> None:
        """Take back what was reported: the rank moves, or has ended."""
        if self._reported:
            self._write(MovingRecord)
        self._reported, self._dumped = None, ()

    def report(self) -> None:
        """Write where the rank is, whether or not it moves: on request."""
        if self._last is not None:
            state = self._stillness.state or "moving"
            self._say(state, self._last, is_requested=True)

    def _say(
        self, state: str, sample: activity.Sample, *, is_requested: bool = False
    ) -> None:
        stack = sample.position.stack
        if state == activity.HOLDS_GIL:
            if is_requested or not self._dumped:
                self._dumped = dumped_stack(self._rank, sample.position.sampler)
            stack = self._dumped or stack
        self._write(
            StalledRecord,
            state=state,
            stalled_s=round(self._stillness.duration_s(sample.time_s), 1),
            stack=[frame[-200:] for frame in stack[:_MAX_FRAMES]],
            waits_in=_system_call(self._rank, sample.state),
            is_alone=sample.position.is_alone,
            is_requested=is_requested,
        )


class Stillness:
    """Since when a rank stands still, and how."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self.state = ""

    def add(self, state: str | None, now_s: float) -> None:
        """Add what was seen at one look; None: it moved."""
        if state is None:
            self._since_s, self.state = None, ""
            return
        if self._since_s is None:
            self._since_s = now_s
        # One that was blocked and ran for a moment was not blocked all the time.
        elif {state, self.state} == {activity.BLOCKED, activity.IDLE}:
            state = activity.IDLE
        self.state = state

    def duration_s(self, now_s: float) -> float:
        return 0.0 if self._since_s is None else now_s - self._since_s


def take_sample(
    rank: int, position: Position, *, is_whole: bool = True
) -> activity.Sample:
    """Look at the process. Raises OSError if it is gone.

    `is_whole`: whether to look at its other threads and children as well.
    """
    thread = f"/proc/{rank}/task/{position.thread or rank}"
    stat = _stat(f"{thread}/stat")
    whole = _stat(f"/proc/{rank}/stat")
    children = _descendants(rank) if is_whole else []
    stats = [_stat_or_none(f"/proc/{child}/stat") for child in children]
    return activity.Sample(
        time_s=time.monotonic(),
        position=position,
        switches=_switches(f"{thread}/status"),
        main_cpu_s=_cpu_s(stat),
        children_cpu_s=sum(map(_cpu_s, stats)),
        has_running_child=any(child[:1] == ["R"] for child in stats),
        io_bytes=sum(map(_io_bytes, [rank, *children])),
        rss_bytes=int(whole[21]) * _PAGE_BYTES,
        state=stat[0],
        threads=_threads(rank, position.thread or rank) if is_whole else {},
    )


def _is_thread(rank: int, thread: int) -> bool:
    return os.path.exists(f"/proc/{rank}/task/{thread}")


def _threads(rank: int, main: int) -> dict[int, tuple[int, float]]:
    """Of each other thread how often it went to sleep, and its processor time."""
    threads = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{rank}/task"):
            with contextlib.suppress(OSError):
                if int(name) != main:
                    folder = f"/proc/{rank}/task/{name}"
                    sleeps = _switches(f"{folder}/status", "\nvoluntary")
                    threads[int(name)] = sleeps, _cpu_s(_stat(f"{folder}/stat"))
    return threads


def _stat(path: str) -> list[str]:
    """The fields of proc(5)'s stat from the third, state, on."""
    with open(path) as file:
        return file.read().rpartition(")")[2].split()


def _stat_or_none(path: str) -> list[str]:
    try:
        return _stat(path)
    except OSError:
        return []


def _cpu_s(stat: list[str]) -> float:
    # utime, stime, and those of children that have ended.
    return sum(map(int, stat[11:15])) / _TICKS_PER_S if stat else 0.0


def _switches(path: str, *kinds: str) -> int:
    """How often a thread was taken off its processor, by its status file."""
    with open(path) as file:
        text = file.read()
    names = (f"{kind}_ctxt_switches:" for kind in kinds or _ALL_SWITCHES)
    return sum(int(text.partition(name)[2].split(None, 1)[0]) for name in names)


def _io_bytes(rank: int) -> int:
    try:
        with open(f"/proc/{rank}/io") as file:
            return sum(int(x.split()[1]) for x in file if x[1:6] == "char:")
    except OSError:
        return 0


def _descendants(rank: int) -> list[int]:
    found: list[int] = []
    waiting = [rank]
    while waiting and len(found) < 256:
        process = waiting.pop()
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/children") as file:
                    children = [int(number) for number in file.read().split()]
                waiting += children
                found += children
    return found


def _system_call(rank: int, state: str) -> str | None:
    """What the main thread waits in, by its name in the kernel; None: it runs."""
    if state == "R":
        return None
    with contextlib.suppress(OSError), open(f"/proc/{rank}/wchan") as file:
        return file.read().strip("0\n") or UNKNOWN_CALL
    return UNKNOWN_CALL


def dumped_stack(rank: int, thread: int) -> tuple[str, ...]:
    """The main thread's stack as the C handler of `in_rank` writes it; empty if it cannot.

    `thread`: the one that gets the signal.

    The program may have closed the handler's file, and a file of its own may have got the
    number: both are looked at first.
    """
    with contextlib.suppress(OSError), open(f"/proc/{rank}/status") as file:
        caught = next(line for line in file if line.startswith("SigCgt:"))
        if not int(caught.split()[1], 16) >> (DUMP_SIGNAL - 1) & 1:
            return ()
        path = _dump_file(rank)
        if path is None:
            return ()
        with open(path, "rb") as dump:
            dump.seek(0, os.SEEK_END)
            ctypes.CDLL(None).tgkill(rank, thread, DUMP_SIGNAL)
            time.sleep(_DUMP_S)
            lines = dump.read(1 << 16).decode(errors="replace")
        return parse_dump(lines)
    return ()


def parse_dump(text: str) -> tuple[str, ...]:
    """The main thread's frames by faulthandler, as `file:line in function`."""
    # It was started first and is written last.
    main = text.rpartition("hread 0x")[2]
    frames = (line.strip() for line in main.splitlines())
    return tuple(
        frame.removeprefix('File "').replace('", line ', ":", 1)
        for frame in frames
        if frame.startswith('File "')
    )


def _dump_file(rank: int) -> str | None:
    for name in os.listdir(f"/proc/{rank}/fd"):
        path = f"/proc/{rank}/fd/{name}"
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith(f"/memfd:{DUMP_NAME}"):
                return path
    return None


def main() -> None:
    """Follow a rank until it ends. Arguments: process, page, pipe, limit in seconds."""
    rank, page, end, limit = sys.argv[-4:]
    requests, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(ASK_SIGNAL, lambda *_: None)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        follow(int(rank), Page(int(page)), int(end), requests, float(limit))
    # The job's output ends when this process does.
    os._exit(0)


def follow(rank: int, page: Page, end: int, requests: int, limit_s: float) -> None:
    """Look once a second until `end` is closed or the rank has ended."""
    ends = [end, *_process_end(rank)]
    poll = select.poll()
    for descriptor in (*ends, requests):
        poll.register(descriptor, select.POLLIN)
    observer = Observer(rank, limit_s, _writer(), has_gpus=_has_gpus())
    while True:
        ready = dict(poll.poll(1000 * _LOOK_S))
        if not ready.keys().isdisjoint(ends):
            observer.end()
            return
        position = page.read()
        if position is None:
            observer.lose()
        else:
            observer.look(position)
        if requests in ready:
            os.read(requests, 4096)
            observer.report()


def _process_end(rank: int) -> list[int]:
    """A descriptor that is ready once the process ends; none where the kernel has none.

    Before Linux 5.3, or where a container forbids it. The pipe ends with the rank, too.
    """
    try:
        return [os.pidfd_open(rank)]
    except ProcessLookupError:
        raise
    except (OSError, AttributeError):
        return []


def _has_gpus() -> bool:
    return os.path.exists("/dev/nvidiactl") and (
        os.environ.get("JAX_PLATFORMS", "") != "cpu"
    )


def _writer() -> Write:
    def write(kind: type[Record], **facts: Any) -> None:
        from jaxsif.rank.launchers import identify
        from jaxsif.rank.launchers.machine import this_machine
        from jaxsif.rank.reporter import Reporter

        reporter = Reporter(identify(os.environ, this_machine()))
        reporter.write(kind(**reporter.stamp(), **facts), is_flushed=False)

    return write
