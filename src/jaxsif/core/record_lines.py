"""Encode and decode records, one line each."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import numbers
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from jaxsif.core.records import Record
from jaxsif.core.slurm_env import CLUSTER, JOB_ID
from jaxsif.core.text import printable

# A record is `@jaxsif2 KEY CRC32 JSON`. The marker may be anywhere in a line, because
# `srun --label` and half-printed lines put text before it; the checksum detects a
# record that was cut or mixed with another rank's output.
MARKER = "@jaxsif2 "
MARKER_BYTES = MARKER.encode()

# The job's random string, set by its script: its first eight digits are the KEY, so
# that a line of another job, of a data set or of a model's output never counts as a
# record.
KEY_VARIABLE = "JAX_SIF_RECORD_KEY"
KEY_LENGTH = 8
_CHOSEN = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}(?![0-9A-Za-z])")
# Without a variable and without Slurm.
NO_KEY = "0" * KEY_LENGTH

# Instead of a checksum: marks a line of the launcher's standard error, written by
# `jax-sif mark`.
LAUNCHER_WORD = "launcher"

# A write of at most this many bytes to a pipe is not mixed with other writes (POSIX).
MAX_RECORD_BYTES = 4096

# The fields that are never shortened.
_KEPT = ("phase", "rank", "step", "node", "time")

# Ends a text that was cut. How many items of a list are not shown is in _LEFT_OUT, by
# the list's place in the record, as `problems.0.ranks`.
_CUT = " [...]"
_LEFT_OUT = "left_out"

# Half a list of nodes would name other nodes; the verdict has the list from the job as
# well.
_WHOLE_OR_NOTHING = ("nodes",)

# The most bytes of a text and items of a list, from mild to harsh.
_LIMITS = ((3000, 64), (1500, 48), (750, 32), (400, 16), (200, 8), (100, 4), (40, 2))

_DECODER = msgspec.json.Decoder(Record)


class CorruptRecord(ValueError):
    """A line has the marker but no whole record after it."""


class MismatchedRecord(CorruptRecord):
    """The record arrived whole, but its fields are not those of this version."""


def job_keys(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of this job's records, the one to write with first; none outside a job.

    The last is derived from Slurm's variables, so that scripts written by hand, and
    those whose environment does not reach the ranks, have a key as well.
    """
    chosen = _CHOSEN.match(environment.get(KEY_VARIABLE, ""))
    keys = [chosen[0]] if chosen else []
    job = environment.get(JOB_ID)
    if job:
        name = f"{environment.get(CLUSTER, '')}/{job}"
        keys.append(f"{zlib.crc32(name.encode(errors='replace')):08x}")
    return tuple(dict.fromkeys(keys))


def rank_key(environment: Mapping[str, str]) -> str:
    """The key with which a rank writes its records."""
    return next(iter(job_keys(environment)), NO_KEY)


def encode(record: Record, key: str = NO_KEY) -> str:
    """One line, newline included, of at most MAX_RECORD_BYTES bytes.

    Texts and lists that do not fit are shortened. Raises ValueError only where the
    names of step and node alone are too long.
    """
    return encode_fields(msgspec.to_builtins(record, enc_hook=_plain), key)


def encode_fields(fields: Mapping[str, Any], key: str = NO_KEY) -> str:
    """Like `encode`, for the fields of a record, which may be any."""
    line = _line(fields, key)
    if len(line) <= MAX_RECORD_BYTES:
        return line
    lines = (_line(short, key) for short in _shorter_forms(fields))
    short = next((line for line in lines if len(line) <= MAX_RECORD_BYTES), None)
    if short is None:
        raise ValueError(
            f"a record of {len(line)} bytes; at most {MAX_RECORD_BYTES} fit"
        )
    return short


def _line(fields: Mapping[str, Any], key: str) -> str:
    # In ASCII, so that characters are bytes, whatever the locale.
    text = json.dumps(fields, separators=(",", ":"))
    return f"{MARKER}{key} {_checksum(key.encode(), text.encode()):08x} {text}\n"


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's; anything else as its text."""
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else str(value)


def _shorter_forms(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The record in shorter and shorter forms, with the cuts marked."""
    facts = {
        name: None if name in _WHOLE_OR_NOTHING else value
        for name, value in record.items()
    }
    yield facts
    for text_bytes, items in _LIMITS:
        left_out: dict[str, int] = {}
        short = {
            name: value
            if name in _KEPT
            else _short(value, text_bytes, items, name, left_out)
            for name, value in facts.items()
        }
        yield {**short, _LEFT_OUT: left_out} if left_out else short


def _short(
    value: Any, text_bytes: int, items: int, place: str, left_out: dict[str, int]
) -> Any:
    if isinstance(value, str):
        return _cut(value, text_bytes)
    if isinstance(value, (list, tuple)):
        if len(value) > items:
            left_out[place] = len(value) - items
        return [
            _short(item, text_bytes, items, f"{place}.{i}", left_out)
            for i, item in enumerate(value[:items])
        ]
    if isinstance(value, dict):
        return {
            name: _short(item, text_bytes, items, f"{place}.{name}", left_out)
            for name, item in value.items()
        }
    return value


def _cut(text: str, most_bytes: int) -> str:
    """The beginning of a text, by its bytes in JSON: a character may take twelve."""
    if _bytes(text) <= most_bytes:
        return text
    size = len(_CUT)
    for index, character in enumerate(text):
        size += _bytes(character)
        if size > most_bytes:
            return text[:index] + _CUT
    return text


def _bytes(text: str) -> int:
    return len(json.dumps(text)) - 2


def launcher_line(text: str, key: str) -> str:
    """Mark a line of the launcher, same as `jax-sif mark`."""
    return f"{MARKER}{key} {LAUNCHER_WORD} {text}"


def _checksum(key: bytes, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(key))


def decode(line: bytes, position: int) -> Record:
    """The record whose marker is at `position` of `line`, with any key.

    Every text in it is made one printable line, safe for terminals. Raises
    CorruptRecord if the marker is not followed by a whole record, MismatchedRecord if
    that is not of a known kind, or lacks a field, or a field is of another type.
    """
    start = position + len(MARKER_BYTES)
    after_key = start + KEY_LENGTH
    text = line[after_key + 10 :].rstrip(b"\r\n")
    if len(text) > MAX_RECORD_BYTES:
        raise CorruptRecord("longer than any record")
    checksum = b" %08x " % _checksum(line[start:after_key], text)
    if line[after_key : after_key + 10] != checksum:
        raise CorruptRecord("checksum differs")
    try:
        # Only an escape or what is not ASCII can be unprintable.
        if b"\\" not in text and text.isascii():
            return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise MismatchedRecord(str(error)) from error
    except (msgspec.DecodeError, RecursionError):
        # msgspec rejects NaN, which a wrong sum may be.
        pass
    return _decode_unusual(text)


def _decode_unusual(text: bytes) -> Record:
    try:
        record: Record = msgspec.convert(_clean(json.loads(text)), Record)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise MismatchedRecord(str(error)) from error
    return record


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {printable(name): _clean(item) for name, item in value.items()}
    return value
