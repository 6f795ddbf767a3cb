"""Parses a line of a job's output: its source, its ranks, whether it is an error."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

# Upper limit, so that a malformed line cannot exhaust memory.
MAX_RANKS = 1 << 16

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LABEL = re.compile(r"\s*(\d{1,7})(?::(?: |$)| [\w.-]+\| )")
# From Slurm 26.05 on, the time replaces slurmstepd's name.
_SLURMSTEPD = re.compile(r"^\[\d{4}-\d\d-\d\dT[\d:.]+\] error: ")
_NUMBERS = re.compile(r"\b(\d{1,7})(?:-(\d{1,7}))?\b")
_BY_SLURM = re.compile(r"\b(?:slurmstepd|slurmd|srun|sbatch)\b[^ ]{0,99}: ")
# `node1:12:34 [0] ... NCCL WARN`, and `Nov 21 04:28:50 node1 kernel: ... NVRM: Xid`.
_HOST = re.compile(
    r"(?:^|\s)([\w.-]{1,255})(?::\d{1,9}:\d{1,9} \[\d{1,9}\] | kernel: )"
)
_HOST_MARKS = ("NCCL WARN", "NVRM: Xid", "SQUASHFS error")
# Neither the metrics of a healthy program ("error 0.02") nor informational messages,
# such as the names of backends that JAX does not find.
_ERROR = re.compile(
    r"[a-z]Error\b|\b(?i:error)\b(?!\s*+(?:[:=]\s*+)?[\d.-]|\s++rate)"
    r"|\b(?i:fatal|failed|failure|exception|aborted|killed|denied)\b"
)
_INFORMATIONAL = re.compile(r"I\d{4} |INFO\b")


def strip_srun_label(text: str) -> tuple[str, str]:
    """Split a line into the rank of a launcher's --label, or "", and the line itself.

    Messages of slurmstepd begin with its name, whatever Slurm's version.
    """
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    label = _LABEL.match(text)
    rank, message = (label[1], text[label.end() :]) if label else ("", text)
    if message.startswith("["):
        message = _SLURMSTEPD.sub("slurmstepd: error: ", message)
    return rank, message


def is_slurm_message(text: str) -> bool:
    """Whether it is Slurm's, so that its label does not name the rank concerned."""
    return bool(_BY_SLURM.search(text))


def host(text: str) -> str | None:
    """The node that NCCL or a kernel names before its message."""
    ends = [end for mark in _HOST_MARKS if (end := text.find(mark)) >= 0]
    found = _HOST.search(text, 0, min(ends)) if ends else None
    return found[1] if found else None


def numbers(text: str, limit: int = MAX_RANKS) -> Iterator[int]:
    """The ranks in `5`, `0-3,7` or `28 4`, and no more than `limit` of them."""
    for found in _NUMBERS.finditer(text):
        if limit <= 0:
            return
        named = range(int(found[1]), int(found[2] or found[1]) + 1)[:limit]
        yield from named
        limit -= len(named)


def looks_like_error(text: str) -> bool:
    """Whether the line looks like an error to a reader."""
    return bool(_ERROR.search(text)) and not _INFORMATIONAL.match(text)
