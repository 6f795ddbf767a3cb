"""The one-line records in which a rank narrates its phases, and their checksum; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import zlib
from typing import Any

from jaxsif.contract.shortening import shorter_forms

# A record is `@jaxsif1 CRC32 JSON`. The marker may stand anywhere in a line, because
# `srun --label` and half-printed lines put text before it; the checksum tells a record
# that was cut or mixed with another rank's output from a whole one.
MARKER = "@jaxsif1 "
MARKER_BYTES = MARKER.encode()

# A write of at most this many bytes to a pipe is not mixed with other writes (POSIX).
MOST_BYTES = 4096

# In the order in which a healthy rank passes through them.
PHASES = ("started", "connected", "devices", "allreduce", "identity", "done")
# Why a rank did not come to its end, in its own words: an exception or a trouble, no
# progress within the deadline, a SIGTERM from outside.
FAILED, STUCK, TERMINATED = "failed", "stuck", "terminated"
# Words of a rank that goes on: it waits for the others, something is not as it should be.
WAITING, TROUBLED = "waiting", "troubled"

# What a rank has measured: as many records of a kind as there are results.
MEASURED = ("fabric", "bandwidth", "pair", "transport", "speed")

# The program will end well, and wants its job to be started again, to go on.
WISH = "requeue"

Record = dict[str, Any]

# Who speaks, of what and when: what every record has besides the facts of its phase.
_ADDRESS = ("phase", "rank", "step", "node", "time")


class DamagedRecord(ValueError):
    """A line carries the marker but not a whole record behind it."""


def encode(record: Record) -> str:
    """One line, newline included, of at most MOST_BYTES bytes.

    Facts that do not fit are shortened. Raises ValueError only where the names of step
    and node alone are too long.
    """
    line = _line(record)
    if len(line) <= MOST_BYTES:
        return line
    lines = map(_line, shorter_forms(record, _ADDRESS))
    short = next((line for line in lines if len(line) <= MOST_BYTES), None)
    if short is None:
        raise ValueError(f"a record of {len(line)} bytes; at most {MOST_BYTES} fit")
    return short


def _line(record: Record) -> str:
    # In ASCII, so that characters are bytes, whatever the locale.
    text = json.dumps(record, separators=(",", ":"), default=str)
    return f"{MARKER}{zlib.crc32(text.encode()):08x} {text}\n"


def decode(line: bytes, position: int) -> Record:
    """The record whose marker stands at `position` of `line`.

    Raises DamagedRecord when what follows the marker is not a whole record.
    """
    start = position + len(MARKER_BYTES)
    text = line[start + 9 :].rstrip(b"\r\n")
    if len(text) > MOST_BYTES:
        raise DamagedRecord("longer than any record")
    try:
        if line[start : start + 9] != b"%08x " % zlib.crc32(text):
            raise DamagedRecord("checksum differs")
        # From text, not bytes: json would spend a fifth of the time on guessing UTF-16.
        record = json.loads(text.decode())
        if b"\\ud" in text.lower():
            record = _without_half_characters(record)
    except (ValueError, RecursionError) as error:
        raise DamagedRecord(str(error)) from error
    if not isinstance(record, dict) or not _is_addressed(record):
        raise DamagedRecord("no rank, step, phase, node and time")
    return record


def _is_addressed(record: Record) -> bool:
    """Whether it has what every record has besides the facts of its phase."""
    get = record.get
    return (
        isinstance(get("rank"), int)
        and isinstance(get("step"), str)
        and isinstance(get("phase"), str)
        and isinstance(get("node"), str)
        and isinstance(get("time"), (int, float))
    )


def _without_half_characters(record: Any) -> Any:
    """A file's name that is no UTF-8 becomes half a character, which cannot be printed."""
    text = json.dumps(record, ensure_ascii=False)
    return json.loads(text.encode(errors="replace"))
