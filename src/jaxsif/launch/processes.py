"""The processes of a launch: a process group for each rank, and their guard."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxsif.core.errors import KitError
from jaxsif.launch.environment import RankPlacement

# A shell, because it starts in a millisecond and needs little memory.
_GUARD = Path(__file__).with_name("guard.sh")


class RankProcess:
    """One rank. It has its own session, so that it is ended with its children."""

    def __init__(self, place: RankPlacement) -> None:
        self.place = place
        # As in subprocess: exit status, or minus the signal; None while running.
        self.status: int | None = None
        self.duration_s = 0.0
        # Whether the launcher has sent it SIGTERM or SIGKILL.
        self.is_terminating = False
        self.is_stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._start_time_s = 0.0

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
        """Its process group id. Only for ranks that were started."""
        assert self._process is not None
        return self._process.pid

    def start(
        self,
        args: Sequence[str],
        environment: Mapping[str, str],
        output: int,
        errors: int,
    ) -> None:
        """Starts the process. Raises KitError."""
        self._start_time_s = time.monotonic()
        try:
            self._process = subprocess.Popen(
                args,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise KitError(
                f"cannot start {self.place}: {error.strerror}; use a smaller topology,"
                " or raise ulimit -n and ulimit -u"
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
        """Sends SIGTERM, or SIGKILL if it is stopped and cannot handle SIGTERM."""
        self.is_terminating |= self.is_running
        self.send(signal.SIGKILL if self.is_stopped else signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.is_terminating |= self.is_running
        self.send(signal.SIGKILL)

    def has_ended(self) -> bool:
        """Whether it has ended since the last call. Also ends its children."""
        if not self.is_running or self._process is None:
            return False
        status = self._process.poll()
        if status is None:
            return False
        # Immediately, before the id can be reused.
        _send(self._process.pid, signal.SIGKILL)
        self.duration_s = time.monotonic() - self._start_time_s
        self.status = status
        return True


def _send(group: int, number: signal.Signals) -> None:
    # macOS returns EPERM for a group with only a zombie left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class Guard:
    """Ends process groups if the launcher is killed: a shell process beside it."""

    def __init__(self, grace_s: float) -> None:
        """`grace_s`: time between SIGTERM and SIGKILL."""
        self._shell = subprocess.Popen(
            ["/bin/sh", str(_GUARD), f"{grace_s:g}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C and a kill of the launcher's process group must not reach it.
            start_new_session=True,
            bufsize=0,
        )

    def watch(self, group: int) -> None:
        """Adds a process group."""
        self._send(f"watch {group}\n")

    def forget(self, group: int) -> None:
        """Removes a group that has ended, since its id may be reused."""
        self._send(f"forget {group}\n")

    def close(self) -> None:
        """Ends the guard, after all groups have ended."""
        if self._shell.stdin:
            self._shell.stdin.close()
        self._shell.wait()

    def _send(self, line: str) -> None:
        # If the guard was killed, the launch continues without it.
        with contextlib.suppress(BrokenPipeError):
            if self._shell.stdin:
                self._shell.stdin.write(line.encode())


def exit_status(status: int) -> int:
    """As in a shell: 128 plus the number of the signal."""
    return status if status >= 0 else 128 - status


def describe_exit(status: int) -> str:
    """How a rank ended, in srun's wording."""
    if status >= 0:
        return f"Exited with exit code {status}"
    return signal.strsignal(-status) or f"Signal {-status}"
