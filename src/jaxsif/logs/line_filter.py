"""Finds the lines that may match a cause in gigabytes of a job's output."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable

# The part of a line that is read. Causes are at its front; the rest may be megabytes.
MAX_LINE_BYTES = 4096
_MAX_TAIL_BYTES = 1 << 16

# Given a line and its number, returns whether it needs the next line, whatever is in
# it.
OnLine = Callable[[bytes, int], bool]


class LineFilter:
    """Reads output in pieces, cut anywhere, and counts lines by newlines.

    A carriage return ends a line as well: a message may follow hundreds of progress
    bars in one line. Memory: one piece, and the front of one line.
    """

    def __init__(self, triggers: tuple[bytes, ...], on_line: OnLine) -> None:
        """`on_line` receives the lines that contain one of the triggers."""
        self.lines = 0
        self._triggers = triggers
        self._any_trigger = re.compile(b"|".join(map(re.escape, triggers)))
        self._on_line = on_line
        self._wants_next = False
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        """Read the next piece of output."""
        text = self._tail + piece if self._tail else piece
        cut = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        self._tail = text[cut:]
        if len(self._tail) > _MAX_TAIL_BYTES:
            self._tail = self._tail[:MAX_LINE_BYTES]
        if cut:
            self._filter(text[:cut])

    def feed_line(self, line: bytes) -> None:
        """Read one line, with or without its newline."""
        if self._wants_next or self._tail or b"\n" in line[:-1]:
            self.feed(line if line.endswith(b"\n") else line + b"\n")
            return
        if self._any_trigger.search(line):
            self._filter(line if line.endswith(b"\n") else line + b"\n")
        else:
            self.lines += 1

    def close(self) -> None:
        """Read the rest, if the output ended within a line."""
        if self._tail:
            self.feed(b"\n")

    def _filter(self, text: bytes) -> None:
        """Filter whole lines. Each trigger is searched for once, from end to end."""
        end = len(text)
        nearest = dict.fromkeys(self._triggers, -1)
        at = counted = 0
        while at < end:
            if not self._wants_next:
                position = _nearest(text, nearest, at)
                at = _line_start(text, at, position)
                if position == end:
                    break
            stop = _line_end(text, at)
            self.lines += text.count(b"\n", counted, at)
            counted = at
            line = text[at : min(stop, at + MAX_LINE_BYTES)]
            if line:
                self._wants_next = self._on_line(line, self.lines + 1)
            at = stop + 1
        self.lines += text.count(b"\n", counted)


def _nearest(text: bytes, nearest: dict[bytes, int], at: int) -> int:
    """The position of the first trigger from `at` on; the length if there is none."""
    for trigger, position in nearest.items():
        if position < at:
            found = text.find(trigger, at)
            nearest[trigger] = len(text) if found < 0 else found
    return min(nearest.values(), default=len(text))


def _line_start(text: bytes, at: int, position: int) -> int:
    newline = text.rfind(b"\n", at, position)
    bar = text.rfind(b"\r", max(at, newline), position)
    return max(at, newline + 1, bar + 1)


def _line_end(text: bytes, at: int) -> int:
    newline = text.find(b"\n", at)
    stop = len(text) if newline < 0 else newline
    bar = text.find(b"\r", at, stop)
    return stop if bar < 0 else bar
