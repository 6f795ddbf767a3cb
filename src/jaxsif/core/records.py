"""Encode and decode the one-line records in which a rank reports its phases."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from jaxsif.core.shortening import shorter_forms
from jaxsif.core.slurm_env import CLUSTER, JOB_ID
from jaxsif.core.text import printable

# A record is `@jaxsif2 KEY CRC32 JSON`. The marker may be anywhere in a line, because
# `srun --label` and half-printed lines put text before it; the checksum detects a record
# that was cut or mixed with another rank's output.
MARKER = "@jaxsif2 "
MARKER_BYTES = MARKER.encode()

# The job's random string, set by its script: its first eight digits are the KEY, so that
# a line of another job, of a data set or of a model's output never counts as a record.
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

# In the order of a healthy rank.
PHASES = ("started", "connected", "devices", "allreduce", "identity", "done")
# Why a rank did not finish: an exception or a problem, no progress within the deadline, a
# SIGTERM from outside.
FAILED, DEADLINE_EXCEEDED, TERMINATED = "failed", "stuck", "terminated"
# Reports of a rank that continues: it waits for the others, or has a problem.
WAITING, WARNINGS = "waiting", "warnings"
# It starts to import JAX, or (`is_over`) has imported it.
IMPORTING = "importing"

# What a rank has measured: as many records of a kind as there are results.
MEASUREMENT_KINDS = ("fabric", "bandwidth", "pair", "transport", "speed")

# The program requests that its job be requeued after a successful end.
REQUEUE_REQUEST = "requeue"

Record = dict[str, Any]

# The fields of every record, besides the facts of its phase.
_ADDRESS = ("phase", "rank", "step", "node", "time")


class CorruptRecord(ValueError):
    """A line has the marker but no whole record after it."""


def job_keys(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of this job's records, the one to write with first; none outside a job.

    The last is derived from Slurm's variables, so that scripts written by hand, and those
    whose environment does not reach the ranks, have a key as well.
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

    Facts that do not fit are shortened. Raises ValueError only where the names of step
    and node alone are too long.
    """
    line = _line(record, key)
    if len(line) <= MAX_RECORD_BYTES:
        return line
    lines = (_line(short, key) for short in shorter_forms(record, _ADDRESS))
    short = next((line for line in lines if len(line) <= MAX_RECORD_BYTES), None)
    if short is None:
        raise ValueError(
            f"a record of {len(line)} bytes; at most {MAX_RECORD_BYTES} fit"
        )
    return short


def _line(record: Record, key: str) -> str:
    # In ASCII, so that characters are bytes, whatever the locale.
    text = json.dumps(record, separators=(",", ":"), default=str)
    return f"{MARKER}{key} {_checksum(key.encode(), text.encode()):08x} {text}\n"


def launcher_line(text: str, key: str) -> str:
    """Mark a line of the launcher, same as `jax-sif mark`."""
    return f"{MARKER}{key} {LAUNCHER_WORD} {text}"


def _checksum(key: bytes, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(key))


def decode(
    line: bytes, position: int, parse: Callable[[bytes], Any] = json.loads
) -> Record:
    """The record whose marker is at `position` of `line`, with any key.

    Every text in it is made one printable line, safe for terminals. Raises CorruptRecord
    if the marker is not followed by a whole record.
    """
    start = position + len(MARKER_BYTES)
    after_key = start + KEY_LENGTH
    text = line[after_key + 10 :].rstrip(b"\r\n")
    if len(text) > MAX_RECORD_BYTES:
        raise CorruptRecord("longer than any record")
    try:
        checksum = b" %08x " % _checksum(line[start:after_key], text)
        if line[after_key : after_key + 10] != checksum:
            raise CorruptRecord("checksum differs")
        record = parse(text)
        # Only an escape or what is not ASCII can be unprintable.
        if b"\\" in text or not text.isascii():
            record = _clean(record)
    except (ValueError, RecursionError) as error:
        raise CorruptRecord(str(error)) from error
    if not isinstance(record, dict) or not _has_rank_and_step(record):
        raise CorruptRecord("no rank, step, phase, node and time")
    return record


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {printable(name): _clean(item) for name, item in value.items()}
    return value


def _has_rank_and_step(record: Record) -> bool:
    """Whether it has what every record has besides the facts of its phase."""
    get = record.get
    return (
        isinstance(get("rank"), int)
        and isinstance(get("step"), str)
        and isinstance(get("phase"), str)
        and isinstance(get("node"), str)
        and isinstance(get("time"), (int, float))
    )
