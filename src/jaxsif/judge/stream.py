"""Splits a job's output into what people read and the records behind it; runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable

from jaxsif.contract.record import (
    MARKER_BYTES,
    MOST_BYTES,
    DamagedRecord,
    Record,
    decode,
)
from jaxsif.judge.facts import checked

# By `srun --label`, or by `jax-sif launch --label`.
_LABEL = re.compile(rb"\s*\d+(?:: ?| [\w.-]+\| )")
# What Slurm's own lines begin with; Slurm 26.05 puts the time before some.
_PROGRAMS = (b"srun: error: ", b"slurmstepd: error: ", b"jax-sif launch: ")
_TIME = re.compile(rb"\[[\d:T.-]*(?:\] error: |\Z)")
# Most output is neither a record nor Slurm's nor cut in the middle of a line.
_CALLS_FOR_A_LOOK = re.compile(rb"@| error: |jax-sif launch: |[^\n]\Z")


class Stream:
    """Takes the output piece by piece, however it was cut.

    `feed` returns the bytes to show, unchanged but for the records and the labels that
    `srun --label` puts before them. Memory: one line, at most MOST_BYTES of it.
    """

    def __init__(
        self, take: Callable[[Record], None], hear: Callable[[str], None]
    ) -> None:
        """`take` is given the records, `hear` what Slurm says of ranks and steps."""
        self.damaged = 0
        self._take = take
        self._hear = hear
        self._tail = b""
        self._is_mid_line = False

    def feed(self, piece: bytes) -> bytes:
        """Text to show out of `piece`, as soon as it cannot belong to a record."""
        if not piece:
            return b""
        text = self._tail + piece
        if not _CALLS_FOR_A_LOOK.search(text):
            self._tail, self._is_mid_line = b"", False
            return text
        lines = text.split(b"\n")
        self._tail = lines.pop()
        shown = b"".join([self._line(line + b"\n") for line in lines])
        return shown + self._release_tail()

    def close(self) -> bytes:
        """What is left when the output has ended, perhaps in the middle of a line."""
        tail, self._tail = self._tail, b""
        return self._line(tail) if tail else b""

    def _line(self, line: bytes) -> bytes:
        position = line.find(MARKER_BYTES)
        is_whole, self._is_mid_line = not self._is_mid_line, False
        if position < 0:
            if is_whole and (line.startswith(_PROGRAMS) or _TIME.match(line)):
                self._hear(line.decode(errors="replace"))
            return line
        before = line[:position]
        try:
            self._take(checked(decode(line, position)))
        except DamagedRecord:
            self.damaged += 1
        return b"" if _LABEL.fullmatch(before) else before

    def _release_tail(self) -> bytes:
        """The unfinished line, or what of it cannot become a record any more."""
        tail = self._tail
        position = tail.find(MARKER_BYTES)
        if position >= 0 and len(tail) - position <= 2 * MOST_BYTES:
            return b""
        if position < 0 and _may_be_ours(tail):
            return b""
        self.damaged += position >= 0
        self._is_mid_line = self._is_mid_line or bool(tail)
        self._tail = b""
        return tail


def _may_be_ours(tail: bytes) -> bool:
    """Whether it may become a record, or a line of Slurm's, when more has come."""
    if len(tail) <= 16 and _LABEL.fullmatch(tail):
        return True
    if len(tail) <= MOST_BYTES and (
        any(name.startswith(tail[: len(name)]) for name in _PROGRAMS)
        or _TIME.match(tail)
    ):
        return True
    at = tail.rfind(b"@")
    return at >= 0 and MARKER_BYTES.startswith(tail[at:])
