"""The one-line records in which a rank narrates its phases, and their checksum; runs anywhere."""
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

# A record is `@jaxsif2 KEY CRC32 JSON`. The marker may stand anywhere in a line, because
# `srun --label` and half-printed lines put text before it; the checksum tells a record
# that was cut or mixed with another rank's output from a whole one.
MARKER = "@jaxsif2 "
MARKER_BYTES = MARKER.encode()

# The job's random word, set by its script: its first eight digits are the KEY, so that
# a line of another job, of a data set or of a model's answer is never taken for a rank.
KEY_VARIABLE = "JAX_SIF_RECORD_KEY"
KEY_LENGTH = 8
_CHOSEN = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}(?![0-9A-Za-z])")
# Without a variable and without Slurm.
NO_KEY = "0" * KEY_LENGTH

# In the place of a checksum: what follows is a line of the launcher's standard error,
# marked by `jax-sif mark`, and not of a rank.
LAUNCHER_WORD = "launcher"

# A write of at most this many bytes to a pipe is not mixed with other writes (POSIX).
MAX_RECORD_BYTES = 4096

# In the order in which a healthy rank passes through them.
PHASES = ("started", "connected", "devices", "allreduce", "identity", "done")
# Why a rank did not come to its end, in its own words: an exception or a trouble, no
# progress within the deadline, a SIGTERM from outside.
FAILED, DEADLINE_EXCEEDED, TERMINATED = "failed", "stuck", "terminated"
# Words of a rank that goes on: it waits for the others, something is not as it should be.
WAITING, WARNINGS = "waiting", "warnings"
# It begins to import JAX, or (`is_over`) is through with it.
IMPORTING = "importing"

# What a rank has measured: as many records of a kind as there are results.
MEASUREMENT_KINDS = ("fabric", "bandwidth", "pair", "transport", "speed")

# The program will end well, and wants its job to be started again, to go on.
REQUEUE_REQUEST = "requeue"

Record = dict[str, Any]

# Who speaks, of what and when: what every record has besides the facts of its phase.
_ADDRESS = ("phase", "rank", "step", "node", "time")


class CorruptRecord(ValueError):
    """A line carries the marker but not a whole record behind it."""


def job_keys(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of this job's records, the one to write with first; none outside a job.

    The last is what Slurm itself tells the script and every rank, so that scripts written
    by hand, and those whose environment does not reach the ranks, have one too.
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
    """A line of the launcher's own, marked as such, as `jax-sif mark` does it."""
    return f"{MARKER}{key} {LAUNCHER_WORD} {text}"


def _checksum(key: bytes, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(key))


def decode(
    line: bytes, position: int, parse: Callable[[bytes], Any] = json.loads
) -> Record:
    """The record whose marker stands at `position` of `line`, whatever its key.

    Every text in it is one printable line: it is shown, and no terminal is to obey it.
    Raises CorruptRecord when what follows the marker is not a whole record.
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
