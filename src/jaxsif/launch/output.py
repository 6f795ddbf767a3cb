"""Passes on what ranks print, line by line and without loss; on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import select
import stat

from jaxsif.core.records import MARKER_BYTES

# A longer line is passed on in pieces. (A record of the kit has 4096 bytes at most.)
MOST_LINE_BYTES = 1 << 20
# With so much on its way nothing more is read: the ranks wait for a slow reader.
_ENOUGH_BYTES = 1 << 20
_FILE_PIECE_BYTES = 1 << 16

_COLOURS = (36, 33, 32, 35, 34, 31)


class Sink:
    """One of our own outputs. A line begins where a line ended, whoever wrote that."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._waiting = bytearray()
        self._last: object = None
        self._is_mid_line = False
        self._is_gone = False
        # A pipe that can be written at all takes as much without letting us wait.
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._piece_bytes = _FILE_PIECE_BYTES if is_file else select.PIPE_BUF

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    @property
    def is_full(self) -> bool:
        return len(self._waiting) > _ENOUGH_BYTES

    def is_in_line_of(self, writer: object) -> bool:
        """Whether the last line is this writer's, and unfinished."""
        return self._is_mid_line and self._last is writer

    def put(self, writer: object, text: bytes) -> None:
        """Takes what is to be written; completes an unfinished line of another writer."""
        if not text or self._is_gone:
            return
        if self._is_mid_line and self._last is not writer:
            self._waiting += b"\n"
        self._waiting += text
        self._last = writer
        self._is_mid_line = not text.endswith((b"\n", b"\r"))

    def complete_line(self) -> None:
        """Nobody will finish the last line: what comes after us begins its own."""
        self.put(self._last, b"\n" if self._is_mid_line else b"")

    def write_some(self) -> None:
        """Writes a piece; to be called when the output can take it. Raises OSError."""
        try:
            written = os.write(self.descriptor, self._waiting[: self._piece_bytes])
        except BlockingIOError:
            return
        del self._waiting[:written]

    def give_up(self) -> None:
        """Nobody reads it any more: from now on it swallows everything."""
        self._is_gone = True
        self._waiting.clear()


class Relay:
    """Passes one stream of one rank to a sink, in whole lines.

    A line also ends with a carriage return, with which progress bars overwrite theirs.
    """

    def __init__(
        self, sink: Sink, label: bytes = b"", hides_records: bool = False
    ) -> None:
        """`hides_records`: the kit's own lines, which only a judge reads, are left out."""
        self._sink = sink
        self._label = label
        self._hides_records = hides_records
        self._unfinished = bytearray()

    def feed(self, piece: bytes) -> None:
        """The next piece of the stream, however it was cut."""
        before = len(self._unfinished)
        self._unfinished += piece
        text, start = self._unfinished, max(before - 1, 0)
        # A carriage return at the end may be half of a line's end.
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
            is_continued = self._sink.is_in_line_of(self)
            text = labelled[len(self._label) :] if is_continued else labelled
        self._sink.put(self, text)


def label(rank: int, node: str, width: int, can_erase: bool, has_colour: bool) -> bytes:
    """What stands before each line of a rank: `3 node2| `."""
    text = f"{rank:>{width}} {node}|"
    if has_colour:
        text = f"\x1b[{_COLOURS[rank % len(_COLOURS)]}m{text}\x1b[0m"
    # What a progress bar left in the line is longer than what comes, or not.
    erase = "\x1b[K" if can_erase else ""
    return f"{erase}{text} ".encode()
