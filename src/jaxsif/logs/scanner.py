"""Scan a job's output for known causes of failure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from jaxsif.core.record_lines import MARKER
from jaxsif.core.text import printable
from jaxsif.logs import catalogue as causes
from jaxsif.logs import error_lines
from jaxsif.logs.catalogue import Catalogue, Cause, Match
from jaxsif.logs.diagnosis import CauseHits, Diagnosis, summarize
from jaxsif.logs.error_lines import ErrorLines, Line

# Limits on what is read and kept, however long the log.
# Upper limit, so that a malformed line cannot exhaust memory.
MAX_RANKS = 1 << 16
# Limit on the ranks read from all lines together.
_MAX_NAMED = 4 * MAX_RANKS
_MAX_NODES = 1024
_MAX_PENDING = 256
_MAX_LAST = 5
_MAX_LAST_BYTES = 4096
_MAX_KINDS = 4096
_KIND_CHARS = 300
_DIGITS = b"0123456789."
_MIN_CHARS = causes.MIN_LITERAL_CHARS
# As much of a line is kept: an exception's reason may come late in it.
_MAX_LINE_CHARS = 1000
_MAX_FRONT_CHARS = 120
# A rank's unfinished message is dropped after this many lines, or twice as many.
_FOLLOWUP_MAX_LINES = 4096

_OWN = MARKER.rstrip("0123456789 ")
_OWN_BYTES = _OWN.encode()
_RECORD = re.compile(rf"{_OWN}(\d{{1,4}}) ")
_VERSION = int(MARKER.removeprefix(_OWN))
_RANK_AND_NODE = re.compile(r'"rank": ?(\d{1,7}),.{0,512}"node": ?"([^"]{1,256})"')
# The part of a line that is read. Causes are at its front; the rest may be megabytes.
MAX_LINE_BYTES = 4096
_MAX_TAIL_BYTES = 1 << 16

# JAX quotes NCCL's last warning behind its own message.
_QUOTED_WARNING = "log entry (may be unrelated) '"
_END_OF_QUOTE = re.compile(r"'\.?(?:[;,\s]|$)")

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


@dataclass
class _PendingMatch:
    """A cause whose fields are in later lines of the same rank."""

    cause: Cause
    lines_left: int
    deadline: int
    step: int = 0
    repeats: bool = False

    def is_over(self, is_found: bool) -> bool:
        """Count one more line; the last expected kind of line may repeat."""
        last = len(self.cause.followed_by) - 1
        if not is_found:
            self.lines_left -= 1
            return self.repeats or self.lines_left <= 0
        self.lines_left = self.cause.max_lines
        self.repeats = self.step == last
        self.step = min(self.step + 1, last)
        return self.repeats and self.cause.requires_followup


def scan(lines: Iterable[str | bytes]) -> Diagnosis:
    """Scan lines. For files and for live output, a LogScanner is faster."""
    scanner = LogScanner()
    for line in lines:
        scanner.feed_line(line)
    return scanner.diagnosis()


class LogScanner:
    """Takes output by `feed` (pieces, fast) or `feed_line`; returns a `diagnosis`.

    Memory grows with causes and ranks, not with output.
    """

    def __init__(
        self, catalogue: Catalogue | None = None, *, believes_records: bool = True
    ) -> None:
        """`believes_records=False`: the job's records are read elsewhere, others ignored."""
        self._believes_records = believes_records
        self._catalogue = catalogue or causes.load()
        self._hits: dict[str, CauseHits] = {}
        self._node_of: dict[int, str] = {}
        self._records = self._other_version_records = 0
        self._errors = ErrorLines()
        # Lines without a cause, but for their numbers: most of a log has few kinds.
        self._dull: set[bytes] = set()
        # label -> cause -> what is still to come
        self._pending: dict[str, dict[str, _PendingMatch]] = defaultdict(dict)
        self._taken = self._lines_before = 0
        self._nameable = _MAX_NAMED
        self._triggers = tuple(
            dict.fromkeys(
                (*self._catalogue.triggers, _OWN_BYTES, *error_lines.TRIGGERS)
            )
        )
        self._start("")

    def _start(self, log: str) -> None:
        self._log = log
        self._filter = LineFilter(self._triggers, self._on_match)

    def open(self, log: str) -> None:
        """Start another log, whose lines count from 1."""
        self._filter.close()
        self._lines_before += self._filter.lines
        self._pending.clear()
        self._start(log)

    def feed(self, piece: bytes) -> None:
        """Scan the next piece of output, cut anywhere."""
        self._filter.feed(piece)

    def feed_line(self, line: str | bytes) -> None:
        """Scan the next line of output."""
        if isinstance(line, str):
            line = line.encode(errors="replace")
        self._filter.feed_line(line)

    def diagnosis(self) -> Diagnosis:
        """Return the diagnosis so far. More output may follow."""
        self._filter.close()
        return Diagnosis(
            summarize(self._hits.values(), self._node_of),
            self._lines_before + self._filter.lines,
            self._records,
            self._other_version_records,
            self._errors.most_telling(self._first_failure()),
            self._last_lines(),
        )

    def _last_lines(self) -> tuple[str, ...]:
        """The last lines of the last output that are not empty."""
        lines = self._filter.last.decode(errors="replace").splitlines()
        texts = [text for line in lines if (text := line.partition(_OWN)[0].strip())]
        return tuple(printable(text[:_MAX_LINE_CHARS]) for text in texts[-_MAX_LAST:])

    def matched(self) -> tuple[Cause, ...]:
        """All rows of the catalogue that the output has, also those not shown."""
        self._filter.close()
        return tuple(hit.cause for hit in self._hits.values())

    def _first_failure(self) -> float:
        """The order of the first cause, or of the first symptom without one."""
        for role in ("cause", "symptom"):
            orders = [h.order for h in self._hits.values() if h.cause.role == role]
            if orders:
                return min(orders)
        return math.inf

    def _on_match(self, raw: bytes, number: int) -> bool:
        """Match one line; return whether the next is needed, whatever it holds."""
        self._taken += 1
        kind = raw[:_KIND_CHARS].translate(None, _DIGITS)
        if not self._pending and (kind in self._dull or len(raw) < _MIN_CHARS):
            return False
        text = self._without_record(raw.decode(errors="replace"))
        who, body = strip_srun_label(text)
        match = self._match(body)
        resolved = self._confirm(who, body) if self._pending else None
        if match and match.cause.followed_by:
            self._add_pending(match, who)
        named = resolved if match is None or match.cause.requires_followup else match
        if named:
            self._count(named, who, body, number)
        elif match is None:
            self._errors.add(_line(number, self._log, body), self._taken)
            if len(self._dull) < _MAX_KINDS and _OWN_BYTES not in raw:
                self._dull.add(kind)
        return bool(self._pending)

    def _match(self, body: str) -> Match | None:
        """The row of a line; of NCCL's last warning in it, if that says more."""
        found = self._catalogue.match(body)
        quoted = _END_OF_QUOTE.split(body.partition(_QUOTED_WARNING)[2])[0]
        if not quoted or (found and found.cause.role == "cause"):
            return found
        inner = self._catalogue.match(f"NCCL WARN {quoted}")
        if inner is None:
            return found
        return replace(inner, at=body.find(_QUOTED_WARNING))

    def _without_record(self, text: str) -> str:
        """Return the text before one of the kit's records; read the rank's node from it."""
        found = _RECORD.search(text) if _OWN in text else None
        if found is None:
            return text
        version = int(found[1])
        if version != _VERSION or not self._believes_records:
            self._other_version_records += version != _VERSION
            return text[: found.start()]
        self._records += 1
        location = _RANK_AND_NODE.search(text, found.end())
        if location:
            self.set_rank_node((int(location[1]),), location[2])
        return text[: found.start()]

    def _add_pending(self, match: Match, who: str) -> None:
        """Search the next lines of this rank for the missing fields."""
        if len(self._pending) < _MAX_PENDING:
            deadline = self._taken + _FOLLOWUP_MAX_LINES
            pending = _PendingMatch(match.cause, match.cause.max_lines, deadline)
            self._pending[who][match.cause.id] = pending

    def _confirm(self, who: str, body: str) -> Match | None:
        """Take fields from a later line; return the cause that is complete with them."""
        complete = None
        for pending in list(self._pending.get(who, {}).values()) if body else ():
            cause = pending.cause
            found = causes.compiled(cause.followed_by[pending.step]).search(body)
            if found and cause.requires_followup:
                complete = Match(cause, causes.fields_of(found))
            elif found:
                self._attach_rank(cause, causes.fields_of(found), "")
            if pending.is_over(found is not None):
                self._drop(who, cause)
        if self._taken % _FOLLOWUP_MAX_LINES == 0:
            self._expire_pending()
        return complete

    def _drop(self, who: str, cause: Cause) -> None:
        del self._pending[who][cause.id]
        if not self._pending[who]:
            del self._pending[who]

    def _expire_pending(self) -> None:
        for who, pendings in list(self._pending.items()):
            for pending in list(pendings.values()):
                if pending.deadline <= self._taken:
                    self._drop(who, pending.cause)

    def _count(self, match: Match, who: str, body: str, number: int) -> None:
        cause = match.cause
        source = "" if is_slurm_message(body) else who
        hit = self._hits.get(cause.id)
        if hit is not None:
            hit.count += 1
            if cause.task_exit:
                self.set_rank_node(
                    self._ranks(match.fields), match.fields.get("node", "")
                )
                return
        else:
            fields = {k: printable(v) for k, v in match.fields.items()}
            line = _line(number, self._log, body, match.at)
            self._hits[cause.id] = CauseHits(cause, line, self._taken, fields)
        self._attach_rank(cause, match.fields, source)
        node = host_of(body)
        if node:
            self._name_node(cause, node)

    def _attach_rank(self, cause: Cause, fields: Mapping[str, str], who: str) -> None:
        """Add the ranks concerned: from the line, the cause, or srun's label."""
        hit = self._hits[cause.id]
        ranks = self._ranks(fields) or cause.ranks
        if not ranks and who and not cause.names_ranks:
            ranks = (int(who),)
        if len(hit.ranks) < MAX_RANKS:
            hit.ranks.update(ranks)
        for name, value in fields.items():
            if name.startswith("node"):
                self._name_node(cause, value)
                self.set_rank_node(ranks, value)

    def _ranks(self, fields: Mapping[str, str]) -> tuple[int, ...]:
        named = [value for name, value in fields.items() if name.startswith("rank")]
        limit = min(self._nameable, MAX_RANKS)
        ranks = tuple(parse_ranks(" ".join(named), limit))
        self._nameable -= len(ranks)
        return ranks

    def _name_node(self, cause: Cause, node: str) -> None:
        nodes = self._hits[cause.id].nodes
        if len(nodes) < _MAX_NODES:
            nodes[printable(node)] = None

    def set_rank_node(
        self, ranks: Iterable[int], node: str, *, is_certain: bool = False
    ) -> None:
        """Set the node of ranks, for lines that name only their numbers.

        `is_certain`: from the ranks' own records, which override other lines.
        """
        for rank in ranks:
            is_wanted = is_certain or rank not in self._node_of
            if node and is_wanted and len(self._node_of) < MAX_RANKS:
                self._node_of[rank] = printable(node)


def _line(number: int, log: str, body: str, at: int = 0) -> Line:
    """The line; without its front, if what tells is so far behind that it were cut."""
    if at > _MAX_FRONT_CHARS:
        body = "... " + body[at - _MAX_FRONT_CHARS // 2 :]
    return Line(log, number, printable(body.strip()[:_MAX_LINE_CHARS]))


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
        # The end of what was read.
        self.last = b""
        self._triggers = triggers
        self._any_trigger = re.compile(b"|".join(map(re.escape, triggers)))
        self._on_line = on_line
        self._wants_next = False
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        """Read the next piece of output."""
        self.last = (self.last + piece)[-_MAX_LAST_BYTES:]
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
        self.last = (
            self.last[-_MAX_LAST_BYTES:] + line[:MAX_LINE_BYTES].rstrip() + b"\n"
        )
        if not self._any_trigger.search(line):
            self.lines += 1
        elif b"\r" in line:
            self._filter(line if line.endswith(b"\n") else line + b"\n")
        else:
            self.lines += 1
            line = line.rstrip(b"\n")[:MAX_LINE_BYTES]
            self._wants_next = self._on_line(line, self.lines)

    def close(self) -> None:
        """Read the rest, if the output ended within a line."""
        if self._tail:
            self.feed(b"\n")

    def _filter(self, text: bytes) -> None:
        """Filter whole lines. Each trigger is searched for once, from end to end."""
        end = len(text)
        nearest = [(-1, trigger) for trigger in self._triggers]
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


def _nearest(text: bytes, nearest: list[tuple[int, bytes]], at: int) -> int:
    """The position of the first trigger from `at` on; the length if there is none.

    `nearest` is a heap of each trigger's next position.
    """
    while nearest and nearest[0][0] < at:
        trigger = nearest[0][1]
        found = text.find(trigger, at)
        heapq.heapreplace(nearest, (len(text) if found < 0 else found, trigger))
    return nearest[0][0] if nearest else len(text)


def _line_start(text: bytes, at: int, position: int) -> int:
    newline = text.rfind(b"\n", at, position)
    bar = text.rfind(b"\r", max(at, newline), position)
    return max(at, newline + 1, bar + 1)


def _line_end(text: bytes, at: int) -> int:
    newline = text.find(b"\n", at)
    stop = len(text) if newline < 0 else newline
    bar = text.find(b"\r", at, stop)
    return stop if bar < 0 else bar


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


def host_of(text: str) -> str | None:
    """The node that NCCL or a kernel names before its message."""
    ends = [end for mark in _HOST_MARKS if (end := text.find(mark)) >= 0]
    found = _HOST.search(text, 0, min(ends)) if ends else None
    return found[1] if found else None


def parse_ranks(text: str, limit: int = MAX_RANKS) -> Iterator[int]:
    """The ranks in `5`, `0-3,7` or `28 4`, and no more than `limit` of them."""
    for found in _NUMBERS.finditer(text):
        if limit <= 0:
            return
        named = range(int(found[1]), int(found[2] or found[1]) + 1)[:limit]
        yield from named
        limit -= len(named)
