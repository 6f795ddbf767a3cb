"""Split a job's output into text and records."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from jaxsif.core.record_lines import (
    KEY_LENGTH,
    LAUNCHER_WORD,
    MARKER_BYTES,
    MAX_RECORD_BYTES,
    CorruptRecord,
    MismatchedRecord,
    decode,
)
from jaxsif.core.records import Record

# Written by `srun --label` or `jax-sif launch --label`.
_LABEL = re.compile(rb"\s*\d+(?:: ?| [\w.-]+\| )")
# Prefixes of Slurm's lines; Slurm 26.05 puts the time before some.
_PROGRAMS = (b"srun: error: ", b"slurmstepd: error: ", b"jax-sif launch: ")
_TIME = re.compile(rb"\[[\d:T.-]*(?:\] error: |\Z)")
# Most output matches none of these and is passed on at once.
_FLUSH_TRIGGERS = re.compile(rb"@| error: |jax-sif launch: |[^\n]\Z")


_OWN = MARKER_BYTES.rstrip(b"0123456789 ")
_VERSION = int(MARKER_BYTES[len(_OWN) :])
# Any version: from another kit, or in the text of any program.
_KEYED = re.compile(rb"%s(\d{1,4}) ([0-9a-f]{%d}) " % (_OWN, KEY_LENGTH))
_LAUNCHER = LAUNCHER_WORD.encode()
# More jobs than a log has; a program's text may contain any number of keys.
_MOST_KEYS = 64


class Stream:
    """Reads the output in pieces of any size.

    `feed` returns the bytes to show: unchanged, without this job's records, the labels
    that `srun --label` puts before them, and the marks of `jax-sif mark`. Memory: one
    line, at most MAX_RECORD_BYTES of it.
    """

    def __init__(
        self,
        take: Callable[[Record], None],
        on_line: Callable[[str, bool], None],
        keys: Sequence[str] = (),
    ) -> None:
        """
        Args:
          take: called with each record of this job.
          on_line: called with each line of Slurm's about ranks and steps, and whether
            it is known to be the launcher's: otherwise it may be the text of a program.
          keys: this job's; if empty, the key of the first whole record.
        """
        # Number of this job's records that are damaged, or from another version of the
        # kit. `foreign`: number of lines with another key.
        self.damaged = self.other_version = self.foreign = 0
        # Of the damaged: those that arrived whole, but whose fields are not known.
        self.mismatched = 0
        self._keys = {key.encode() for key in keys}
        self._damaged_by_key: Counter[bytes] = Counter()
        self._take = take
        self._on_line = on_line
        self._tail = b""
        self._is_mid_line = False

    def feed(self, piece: bytes) -> bytes:
        """Return the text of `piece` to show, once it cannot belong to a record."""
        if not piece:
            return b""
        text = self._tail + piece
        if not _FLUSH_TRIGGERS.search(text):
            self._tail, self._is_mid_line = b"", False
            return text
        lines = text.split(b"\n")
        self._tail = lines.pop()
        shown = b"".join([self._line(line + b"\n") for line in lines])
        return shown + self._flush_partial_line()

    def close(self) -> bytes:
        """Return the rest of the text at the end of the output, or of a line."""
        tail, self._tail = self._tail, b""
        shown = self._line(tail) if tail else b""
        if not self._keys:
            self.damaged = self._damaged_by_key.total()
        return shown

    def _line(self, line: bytes) -> bytes:
        is_whole, self._is_mid_line = not self._is_mid_line, False
        position = line.find(MARKER_BYTES)
        # Most records are at the start of their line, and have this job's key.
        key_at = position + len(MARKER_BYTES)
        if position < 0 or line[key_at : key_at + KEY_LENGTH] not in self._keys:
            position = self._find(line) if _OWN in line else -1
        if position < 0:
            if is_whole and (line.startswith(_PROGRAMS) or _TIME.match(line)):
                self._on_line(line.decode(errors="replace"), False)
            return line
        before = line[:position]
        if _is_launchers(line, position):
            start = position + len(MARKER_BYTES) + KEY_LENGTH + len(_LAUNCHER) + 2
            text = line[start:]
            self._on_line(text.decode(errors="replace"), True)
            return before + text
        try:
            self._take(decode(line, position))
        except CorruptRecord as error:
            self.damaged += 1
            self.mismatched += isinstance(error, MismatchedRecord)
        return b"" if _LABEL.fullmatch(before) else before

    def _find(self, line: bytes) -> int:
        """The offset of this job's record in an unusual line, or -1."""
        has_foreign = False
        for found in _KEYED.finditer(line):
            version, key = int(found[1]), found[2]
            is_readable = version == _VERSION
            if not self._keys and is_readable:
                self._learn(line, found.start(), key)
            if key in self._keys and is_readable:
                return found.start()
            is_of_job = not self._keys or key in self._keys
            self.other_version += version != _VERSION and is_of_job
            has_foreign |= bool(self._keys) and key not in self._keys
        self.foreign += has_foreign
        return -1

    def _learn(self, line: bytes, position: int, key: bytes) -> None:
        """Use the key of the first whole record as the job's."""
        try:
            if not _is_launchers(line, position):
                # Longer text is not a record; limit the cost of parsing it repeatedly.
                decode(line[: position + 2 * MAX_RECORD_BYTES], position)
        except MismatchedRecord:
            pass
        except CorruptRecord:
            if len(self._damaged_by_key) < _MOST_KEYS:
                self._damaged_by_key[key] += 1
            return
        self._keys = {key}
        self.damaged = self._damaged_by_key[key]

    def _flush_partial_line(self) -> bytes:
        """The unfinished line, if it can no longer become a record."""
        tail = self._tail
        position = tail.find(MARKER_BYTES)
        if position >= 0 and len(tail) - position <= 2 * MAX_RECORD_BYTES:
            return b""
        if position < 0 and _may_start_record(tail):
            return b""
        if position >= 0:
            key_at = position + len(MARKER_BYTES)
            self.damaged += tail[key_at : key_at + KEY_LENGTH] in self._keys
        self._is_mid_line = self._is_mid_line or bool(tail)
        self._tail = b""
        return tail


def _is_launchers(line: bytes, position: int) -> bool:
    """Whether the marker at `position` marks a line of the launcher."""
    at = position + len(MARKER_BYTES) + KEY_LENGTH + 1
    return line[at : at + len(_LAUNCHER)] == _LAUNCHER


def _may_start_record(tail: bytes) -> bool:
    """Whether it may become a record, or a line of Slurm's, when more arrives."""
    if len(tail) <= 16 and _LABEL.fullmatch(tail):
        return True
    if len(tail) <= MAX_RECORD_BYTES and (
        any(name.startswith(tail[: len(name)]) for name in _PROGRAMS)
        or _TIME.match(tail)
    ):
        return True
    at = tail.rfind(b"@")
    return at >= 0 and MARKER_BYTES.startswith(tail[at:])
