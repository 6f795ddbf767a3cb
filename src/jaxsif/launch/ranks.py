"""The process group of one rank: its start, its signals, its end; on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from jaxsif.core.errors import KitError
from jaxsif.launch.plan import Place


class Rank:
    """One rank. It has a session of its own, so that it can be ended with its children."""

    def __init__(self, place: Place) -> None:
        self.place = place
        # subprocess's: a number from 0 on, or minus a signal's; None before the end.
        self.status: int | None = None
        self.duration_s = 0.0
        # Whether the launcher has told it to end.
        self.is_told_to_end = False
        self.is_stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self.status is None

    @property
    def was_started(self) -> bool:
        return self._process is not None

    @property
    def has_failed(self) -> bool:
        return self.status not in (None, 0)

    @property
    def group(self) -> int:
        """The number of its process group. Only for a rank that was started."""
        assert self._process is not None
        return self._process.pid

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        output: int,
        errors: int,
    ) -> None:
        """Starts its process. Raises KitError when the machine cannot."""
        self._started_s = time.monotonic()
        try:
            self._process = subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise KitError(
                f"cannot start {self.place}: {error.strerror}; a smaller topology needs"
                " less, see also ulimit -n and ulimit -u"
            ) from error

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group."""
        if number == signal.SIGSTOP:
            self.is_stopped = True
        elif number == signal.SIGCONT:
            self.is_stopped = False
        if self.is_running:
            _send(self.group, number)

    def end(self) -> None:
        """Tells it to end. One that is stopped cannot hear SIGTERM."""
        self.is_told_to_end |= self.is_running
        self.send(signal.SIGKILL if self.is_stopped else signal.SIGTERM)

    def kill(self) -> None:
        self.is_told_to_end |= self.is_running
        self.send(signal.SIGKILL)

    def has_ended(self) -> bool:
        """Whether it has ended since it was last asked; its children end with it."""
        if not self.is_running or self._process is None:
            return False
        status = self._process.poll()
        if status is None:
            return False
        # At once, before another group can get the number.
        _send(self._process.pid, signal.SIGKILL)
        self.duration_s = time.monotonic() - self._started_s
        self.status = status
        return True


def _send(group: int, number: signal.Signals) -> None:
    # macOS answers EPERM for a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def exit_status(status: int) -> int:
    """As a shell tells it: 128 and the signal's number."""
    return status if status >= 0 else 128 - status


def ending(status: int) -> str:
    """How a rank ended, in srun's words."""
    if status >= 0:
        return f"Exited with exit code {status}"
    return signal.strsignal(-status) or f"Signal {-status}"
