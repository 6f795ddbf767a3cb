"""Writes records to the standard output that the process began with, whatever the program does to it; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

# How long a full output that does not block may take to be read.
_DRAINING_S = 2.0


class Output:
    """The process's standard output as it is now, also after the program has replaced it.

    A program may redirect descriptor 1, or close it and open a file of its own that gets
    the same number: records belong to the job's output, and never into such a file.
    """

    def __init__(self, descriptor: int | None) -> None:
        """`descriptor`: None where the process began without a standard output."""
        self._descriptors = [] if descriptor is None else [descriptor]
        self._file = None if descriptor is None else _identity(descriptor)
        if descriptor is not None and self._file is not None:
            # Closed by exec, so that no other program holds the job's output open. Where no
            # descriptor is left the program's own has to do.
            with contextlib.suppress(OSError):
                self._descriptors.insert(0, os.dup(descriptor))

    def write(self, line: bytes) -> None:
        """Writes all of `line`. Raises OSError where that is not possible."""
        for descriptor in self._descriptors:
            if self._file is not None and _identity(descriptor) == self._file:
                with _without_sigpipe():
                    _write_whole(descriptor, line)
                return
        raise OSError("the program has closed its standard output")

    def release(self) -> None:
        """For a forked child: whoever waits for the end of the output must not wait for it."""
        own, self._descriptors = self._descriptors[:-1], self._descriptors[-1:]
        for descriptor in own:
            if _identity(descriptor) == self._file:
                os.close(descriptor)


def standard_output() -> Output:
    """Of this process. Python has none where descriptor 1 was closed at its start."""
    try:
        return Output(sys.__stdout__.fileno() if sys.__stdout__ else None)
    # The program has closed it, and the number may be another file's.
    except (OSError, ValueError):
        return Output(None)


def flush_stdout() -> None:
    """What the program has printed comes first; what it has put there may be anything."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()


def _identity(descriptor: int) -> tuple[int, int] | None:
    """Which file a descriptor is; None when it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write_whole(descriptor: int, line: bytes) -> None:
    deadline_s = time.monotonic() + _DRAINING_S
    while line:
        try:
            line = line[os.write(descriptor, line) :]
        except BlockingIOError:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            # A pipe with a little room is not ready for a whole record.
            if poll.poll(1000 * left_s):
                time.sleep(0.01)


@contextlib.contextmanager
def _without_sigpipe() -> Iterator[None]:
    """Keeps a reader that is gone from killing a program that left SIGPIPE as it was."""
    # Not on every system.
    if not hasattr(signal, "sigtimedwait"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    finally:
        if signal.SIGPIPE not in before:
            signal.sigtimedwait({signal.SIGPIPE}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
