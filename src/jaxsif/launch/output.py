"""Forwards the output of the ranks line by line, without loss."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import select
import stat

from jaxsif.core.records import MARKER_BYTES

# Longer lines are forwarded in pieces. (A record of the kit has at most 4096 bytes.)
MOST_LINE_BYTES = 1 << 20
# Above this nothing more is read, so that the ranks wait for a slow reader.
HIGH_WATER_BYTES = 1 << 20
_FILE_PIECE_BYTES = 1 << 16

_COLOURS = (36, 33, 32, 35, 34, 31)


class Sink:
    """One of the launcher's outputs, shared by several writers."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._waiting = bytearray()
        self._last: object = None
        self._is_mid_line = False
        self._is_gone = False
        # A writable pipe accepts this many bytes without blocking.
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._piece_bytes = _FILE_PIECE_BYTES if is_file else select.PIPE_BUF

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    @property
    def is_full(self) -> bool:
        return len(self._waiting) > HIGH_WATER_BYTES

    def is_mid_line_of(self, writer: object) -> bool:
        """Whether the last line is this writer's, and unfinished."""
        return self._is_mid_line and self._last is writer

    def put(self, writer: object, text: bytes) -> None:
        """Queues text; completes an unfinished line of another writer first."""
        if not text or self._is_gone:
            return
        if self._is_mid_line and self._last is not writer:
            self._waiting += b"\n"
        self._waiting += text
        self._last = writer
        self._is_mid_line = not text.endswith((b"\n", b"\r"))

    def complete_line(self) -> None:
        """Ends an unfinished line, so that later output starts a new one."""
        self.put(self._last, b"\n" if self._is_mid_line else b"")

    def write_available(self) -> None:
        """Writes a piece; call it when the output is writable. Raises OSError."""
        try:
            written = os.write(self.descriptor, self._waiting[: self._piece_bytes])
        except BlockingIOError:
            return
        del self._waiting[:written]

    def close_broken(self) -> None:
        """Discards everything from now on, because the reader is gone."""
        self._is_gone = True
        self._waiting.clear()


class Relay:
    """Forwards one stream of one rank to a sink in whole lines.

    A carriage return ends a line as well, because progress bars use it.
    """

    def __init__(
        self, sink: Sink, label: bytes = b"", hides_records: bool = False
    ) -> None:
        """`hides_records`: omit records, which only `jax-sif verify` reads."""
        self._sink = sink
        self._label = label
        self._hides_records = hides_records
        self._unfinished = bytearray()

    def feed(self, piece: bytes) -> None:
        """The next piece of the stream, split anywhere."""
        before = len(self._unfinished)
        self._unfinished += piece
        text, start = self._unfinished, max(before - 1, 0)
        # A carriage return at the end may be the first half of "\r\n".
        end = max(text.rfind(b"\n", start), text.rfind(b"\r", start, -1)) + 1
        if end:
            self._pass(bytes(text[:end]))
            del text[:end]
        if len(self._unfinished) > MOST_LINE_BYTES:
            self.close()

    def close(self) -> None:
        """The stream has ended, perhaps in the middle of a line."""
        self._pass(bytes(self._unfinished))
        self._unfinished.clear()

    def _pass(self, text: bytes) -> None:
        if self._hides_records and MARKER_BYTES in text:
            lines = text.splitlines(keepends=True)
            text = b"".join(line.partition(MARKER_BYTES)[0] for line in lines)
        if self._label and text:
            labelled = self._label.join([b"", *text.splitlines(keepends=True)])
            is_continued = self._sink.is_mid_line_of(self)
            text = labelled[len(self._label) :] if is_continued else labelled
        self._sink.put(self, text)


def label(rank: int, node: str, width: int, can_erase: bool, has_colour: bool) -> bytes:
    """The prefix of each line of a rank: `3 node2| `."""
    text = f"{rank:>{width}} {node}|"
    if has_colour:
        text = f"\x1b[{_COLOURS[rank % len(_COLOURS)]}m{text}\x1b[0m"
    # A progress bar may have left a longer line.
    erase = "\x1b[K" if can_erase else ""
    return f"{erase}{text} ".encode()
