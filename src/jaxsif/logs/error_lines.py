"""Lines that look like errors and have no known cause: the most telling of them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass

# Parts of words that every such line contains; none is in a healthy program's metrics.
TRIGGERS = (
    b"rror",
    b"ERROR",
    b"atal",
    b"FATAL",
    b"ailed",
    b"ailure",
    b"illed",
    b"enied",
    b"bort",
    b"efused",
    b"xception",
    b"NCCL WARN",
    b".cc:",
    b"nable to",
    b"annot ",
    b"ould not",
    b"n't ",
    b"imed out",
    b"ot found",
    b"o such ",
    b"nvalid",
    b"nrecogn",
    b"llegal",
    b"ndefined",
    b"xceeded",
    b"nsupported",
    b"ncompatible",
    b"mismatch",
    b"not available",
    b"not support",
    b"not permitted",
    b"does not ",
    b"core dumped",
    b"*** ",
)
# What stands before a message: `[host:pid]`, `<frozen x>`, `2026-01-02 03:04:05,678 - `.
_BEFORE = re.compile(
    r"(?:\[[^\]\[]{1,80}\]:? {0,4}|\d{4}-\d\d-\d\d[ T][\d:.,+Z]{5,30}:? {0,2}(?:- )?){1,3}"
)
# A program's own mark of an error: the level of a logging library, or its name with
# `error:`, or a shell's report of a script's line.
_MARKED = re.compile(
    r"[EF]\d{4} |[EF] |(?:slurmstepd|srun|sbatch|salloc|slurmd): error: |\*\*\* |"
    r"(?:[\w./-]{1,60}: )?\[?(?i:fatal|critical|error)\b(?!\s?rate)"
    r"|[\w./-]{1,120}: line \d{1,6}: |(?:-?bash|sh): |terminate called"
    r"|[\w.]{1,80}(?:Error|Exception): "
)
_MARKS = re.compile(
    r"NCCL WARN|(?:OPAL|ORTE|PMIX|PRTE|OMPI|UCX) ERROR|\[(?i:error|fatal)\]"
    r"|: command not found|: symbol lookup error: |Segmentation fault|core dumped"
)
_ERROR = re.compile(
    r"[a-z]Error\b|\b(?i:error)\b(?!s? were|s? rate)"
    r"|\b(?i:fatal|failed|failure|exception|aborted|killed|denied|refused|unable to"
    r"|cannot|can't|could not|couldn't|no such (?:file|device|host|container)|timed out"
    r"|not found|not available|not supported|not permitted|unrecognized|invalid"
    r"|illegal|undefined|unknown (?:option|argument|host)|exceeded|unsupported"
    r"|incompatible|mismatch|does(?: not|n't) (?:exist|match|support|have|fit))\b"
)
# `error: 0.02` and `Error 3.1 %` of a healthy program.
_METRIC = re.compile(r"(?i:error)\s?[:=]?\s?-?\.?\d{1,9}(?:[.,e%\s]|$)")
# Also the code in a traceback, and JAX's words around one.
_INFORMATIONAL = re.compile(
    r"I\d{4} |I |INFO\b|DEBUG\b|\S{1,99} \[\d{1,9}\] NCCL INFO|For simplicity, JAX has"
    r"|\s{1,40}(?:File \"|raise |assert |except |if |return |# |[~^]|[\w.]{1,60} ?[=(])"
    r"|\S{0,99}ldconfig\S{0,9}: Can't create temporary cache|.{0,200}already been registered"
    r"|The stack trace below excludes|The above exception|During handling of"
    r"|\s{0,20}@ {1,20}0x|RPC: /|\*\*\* Check failure stack trace|Additional GRPC error"
)
_WARNING = re.compile(r"W\d{4} |W |(?i:warn)|[^:\n]{1,200}:\d{1,6}: \w{0,60}Warning:")
# What only points to another line, or repeats that something went wrong.
_GENERAL = re.compile(
    r"(?i)for more (?:details|information)|for an earlier error|look at the errors above|see (?:the )?above"
    r"|exit(?:ed)?(?: with)? (?:return |exit )?(?:code|status)|with return code"
    r"|non-zero|please report|will now abort|local abort before|errors_are_fatal"
    r"|failed with rc=|errorcode|plugin stack|signal code|printing enroot log"
    r"|task launch|stack trace|backtrace|most recent call|aborting|on communicator"
    r"|on a null comm|job step aborted|if the image has|couldn't start container"
)
# A name, a path, a number of a version, or the system's own words.
_CONCRETE = re.compile(
    r"No such file|[Pp]ermi|cannot open shared|refused|unreach|time(?:d )?out|not found"
    r"|not support|['\"`]\w|\blib[\w+-]{1,60}\.so|/\w{1,99}/\w|version|No space|nvalid"
    r"|mismatch|memory|not built|missing"
)
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")
_MAX_KEPT = 64
_MAX_READ_CHARS = 400


@dataclass(frozen=True)
class Line:
    """A line of a log: the log's name, the line's number, and its text, cut."""

    log: str
    number: int
    text: str


def weight(text: str) -> int:
    """How telling a line is: 0 for none that looks like an error, then 1 to 5."""
    before = _BEFORE.match(text)
    message = text[before.end() :] if before else text
    if _INFORMATIONAL.match(message):
        return 0
    is_marked = bool(_MARKED.match(message) or _MARKS.search(text))
    if not (is_marked or _ERROR.search(message)) or _METRIC.search(message):
        return 0
    if _WARNING.match(message) and "NCCL WARN" not in text:
        return 2 if _CONCRETE.search(message) else 1
    points = 4 if is_marked else 3
    if _GENERAL.search(message):
        return points - 2
    return points + bool(_CONCRETE.search(message))


class ErrorLines:
    """The most telling lines of an output, each kind once. Memory is bounded."""

    def __init__(self) -> None:
        # text without numbers -> weight, order and line
        self._kept: dict[str, tuple[int, int, Line]] = {}
        # No line of this weight, or less, is taken any more.
        self._least = 0

    def add(self, line: Line, order: int) -> None:
        """Take a line, if it looks like an error and is not like one before."""
        kind = _NUMBER.sub("#", line.text[:200])
        if kind in self._kept:
            return
        points = weight(line.text[:_MAX_READ_CHARS])
        if points <= self._least:
            return
        self._kept[kind] = (points, order, line)
        if len(self._kept) > _MAX_KEPT:
            last = max(self._kept, key=lambda k: (-self._kept[k][0], self._kept[k][1]))
            del self._kept[last]
            self._least = min(points for points, _, _ in self._kept.values())

    def most_telling(self, before: float) -> tuple[Line, ...]:
        """All that are kept: those before that place first, by weight."""
        ranked = sorted(
            (order >= before, -points, order)
            for points, order, _ in self._kept.values()
        )
        lines = {order: line for _, order, line in self._kept.values()}
        return tuple(lines[order] for _, _, order in ranked)
