"""Write records to the process's original standard output."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

# Timeout for a full, non-blocking output.
_DRAINING_S = 2.0


class Output:
    """The process's current standard output, kept even if the program replaces it.

    A program may redirect descriptor 1, or close it and open a file that gets the same
    number: records belong in the job's output, never in such a file.
    """

    def __init__(self, descriptor: int | None) -> None:
        """`descriptor`: None if the process started without a standard output."""
        self._descriptors = [] if descriptor is None else [descriptor]
        self._file = None if descriptor is None else _identity(descriptor)
        if descriptor is not None and self._file is not None:
            # Closed by exec, so that no other program holds the job's output open. If no
            # descriptor is free, only the program's own is used.
            with contextlib.suppress(OSError):
                self._descriptors.insert(0, os.dup(descriptor))

    def write(self, line: bytes) -> None:
        """Write all of `line`. Raises OSError if that fails."""
        for descriptor in self._descriptors:
            if self._file is not None and _identity(descriptor) == self._file:
                with _without_sigpipe():
                    _write_whole(descriptor, line)
                return
        raise OSError("the program has closed its standard output")

    def release(self) -> None:
        """For a forked child: close the output, so that its reader sees the end."""
        own, self._descriptors = self._descriptors[:-1], self._descriptors[-1:]
        for descriptor in own:
            if _identity(descriptor) == self._file:
                os.close(descriptor)


def standard_output() -> Output:
    """This process's output; Python has none if descriptor 1 was closed at the start."""
    try:
        return Output(sys.__stdout__.fileno() if sys.__stdout__ else None)
    # The program has closed it, and the number may be another file's.
    except (OSError, ValueError):
        return Output(None)


def flush_stdout() -> None:
    """Flush the program's output first; it may have replaced the stream."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()


def _identity(descriptor: int) -> tuple[int, int] | None:
    """The file behind a descriptor; None if it is closed."""
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
    """Keep SIGPIPE of a closed reader from killing a program with its default handler."""
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
