"""Signals that request the verdict before the output ends: job end, Ctrl-C, SIGHUP."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType

# At a job's end Slurm sends SIGTERM to all of it, and SIGKILL after KillWait: 30 s by
# default, 5 s on some sites. Most jobs have ended by then, and nothing is printed
# twice.
_AFTER_SIGTERM_S = 2.0
# srun prints at Ctrl-C what its tasks do.
_AFTER_SIGINT_S = 0.3
# A container's runtime may pass on the same Ctrl-C once more.
_SAME_S = 0.25

_REASONS = {
    signal.SIGTERM: "SIGTERM, as Slurm sends it at a job's end",
    signal.SIGINT: "Ctrl-C (SIGINT)",
    signal.SIGHUP: "SIGHUP: its terminal went away",
}


def keep_in_memory() -> None:
    """Read every file that this process has mapped, so that its pages are cached.

    If the image is mounted by FUSE, Slurm's SIGTERM ends the mounting program as well,
    and an access to an uncached page causes a bus error.
    """
    with contextlib.suppress(OSError), open("/proc/self/maps") as maps:
        paths = {line.split(maxsplit=5)[-1].rstrip("\n") for line in maps}
        for path in sorted(path for path in paths if path.startswith("/")):
            with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


class Interruption:
    """Notes the signals. The reader of the output checks `wake` and `is_due`.

    A second Ctrl-C or SIGHUP ends the process at once, as without this class. SIGTERM
    never does: a program that saves its state at SIGTERM writes into our pipe, and
    would die if it were closed.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._due_s: float | None = None
        self._first_s = 0.0
        # Can be read when a signal has come.
        self.wake, bell = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(bell, False)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
        for number in _REASONS:
            # What was ignored from the start, as SIGHUP under nohup, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self.reason is None:
            delay_s = _AFTER_SIGTERM_S if number == signal.SIGTERM else _AFTER_SIGINT_S
            self.reason = _REASONS[signal.Signals(number)]
            self._first_s, self._due_s = now_s, now_s + delay_s
        elif number != signal.SIGTERM and now_s - self._first_s > _SAME_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def left_s(self) -> float | None:
        """Until the verdict of what is known is due; None when it is not asked for."""
        return None if self._due_s is None else max(0.0, self._due_s - time.monotonic())

    def is_due(self) -> bool:
        """Whether it is due now; once."""
        if self.left_s() != 0.0:
            return False
        self._due_s = None
        return True

    def awake(self) -> None:
        """Takes what woke the reader."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 4096)
