"""Standard streams that never raise: closed, full, non-blocking or unread."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TextIO

_NAMES = {1: "standard output", 2: "standard error"}


class Output(io.RawIOBase):
    """A descriptor to write to. After an error everything is discarded, and `error` set.

    Where the descriptor does not block (a terminal or pipe that it shares with another
    program may be so), it waits until there is room.
    """

    def __init__(self, descriptor: int, *, was_closed: bool) -> None:
        self._descriptor = descriptor
        self._was_closed = was_closed
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Writes all of it, or nothing any more."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        if self._was_closed and size:
            self.error = self.error or OSError(errno.EBADF, os.strerror(errno.EBADF))
        while rest and self.error is None:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = error
        return size


class Streams:
    """Replaces `sys.stdin`, `sys.stdout` and `sys.stderr`."""

    def __init__(self) -> None:
        closed = _open_the_closed()
        self.out = Output(1, was_closed=1 in closed)
        self._err = Output(2, was_closed=2 in closed)
        if sys.stdin is None:
            sys.stdin = open(0)  # noqa: SIM115  (as long as the process)
        sys.stdout = _text(self.out, sys.stdout)
        sys.stderr = _text(self._err, sys.stderr)

    def finish(self) -> bool:
        """Flush the output; print an error and return False if output was lost."""
        sys.stdout.flush()
        error = self.out.error
        # Who closes a pipe, as `| head` does, has read enough.
        if error is not None and error.errno != errno.EPIPE:
            print(
                f"jax-sif: cannot write to {_NAMES[1]}: {error.strerror}",
                file=sys.stderr,
            )
        sys.stderr.flush()
        return error is None


def _open_the_closed() -> set[int]:
    """Open /dev/null for closed descriptors, which the next file would otherwise get."""
    closed = set()
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.add(descriptor)
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, descriptor)
            if opened != descriptor:
                os.close(opened)
    return closed


def _text(output: Output, before: TextIO | None) -> TextIO:
    """What cannot be encoded, as the name of a file, is escaped and does not raise."""
    return io.TextIOWrapper(
        io.BufferedWriter(output),  # type: ignore[type-var]
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=output.isatty() or output.fileno() == 2,
    )
