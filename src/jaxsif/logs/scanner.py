"""Scans a job's output for known causes of failure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jaxsif.core.records import MARKER
from jaxsif.core.text import printable
from jaxsif.logs import catalogue as causes
from jaxsif.logs import log_line
from jaxsif.logs.catalogue import Catalogue, Cause, Match
from jaxsif.logs.diagnosis import CauseHits, Diagnosis, Line, conclude
from jaxsif.logs.line_filter import LineFilter

# Limits on what is kept, however long the log.
_MAX_RANKS = log_line.MOST_RANKS
# Limit on the ranks read from all lines together.
_MAX_NAMED = 4 * _MAX_RANKS
_MAX_NODES = 1024
_MAX_PENDING = 256
_MAX_UNMATCHED = 8
_MAX_SHOWN = 300
# A rank's unfinished message is dropped after this many lines, or twice as many.
_FOLLOWUP_MAX_LINES = 4096

# No cause contains it, but such lines are shown if no cause is found.
_UPPERCASE_ERROR = b"ERROR"
_OWN = MARKER.rstrip("0123456789 ")
_RECORD = re.compile(rf"{_OWN}(\d{{1,4}}) ")
_VERSION = int(MARKER.removeprefix(_OWN))
_RANK_AND_NODE = re.compile(r'"rank": ?(\d{1,7}),.{0,512}"node": ?"([^"]{1,256})"')


@dataclass
class _Pending:
    """A cause whose facts are in later lines of the same rank."""

    cause: Cause
    left: int
    until: int
    step: int = 0
    repeats: bool = False

    def is_over(self, is_found: bool) -> bool:
        """Count one more line; the last expected kind of line may repeat."""
        last = len(self.cause.then) - 1
        if not is_found:
            self.left -= 1
            return self.repeats or self.left <= 0
        self.left = self.cause.within
        self.repeats = self.step == last
        self.step = min(self.step + 1, last)
        return self.repeats and self.cause.only_then


def recognise(lines: Iterable[str | bytes]) -> Diagnosis:
    """Scan lines. For files and for live output, a LogScanner is faster."""
    listener = LogScanner()
    for line in lines:
        listener.hear(line)
    return listener.diagnosis()


class LogScanner:
    """Give it output with `feed` (pieces, fast) or `hear` (lines); ask for `diagnosis`.

    Memory grows with causes and ranks, not with output.
    """

    def __init__(
        self, catalogue: Catalogue | None = None, *, believes_records: bool = True
    ) -> None:
        """`believes_records=False`: the job's records are read elsewhere, others ignored."""
        self._believes_records = believes_records
        self._catalogue = catalogue or causes.load()
        self._tallies: dict[str, CauseHits] = {}
        self._node_of: dict[int, str] = {}
        self._records = self._newer_records = 0
        self._suspicious: deque[tuple[int, str, str]] = deque(maxlen=_MAX_UNMATCHED)
        # label -> cause -> what is still to come
        self._pending: dict[str, dict[str, _Pending]] = defaultdict(dict)
        self._taken = self._lines_before = 0
        self._nameable = _MAX_NAMED
        self._start("")

    def _start(self, log: str) -> None:
        self._log = log
        triggers = (*self._catalogue.triggers, _OWN.encode(), _UPPERCASE_ERROR)
        self._sieve = LineFilter(triggers, self._take)

    def begin(self, log: str) -> None:
        """Start another log, whose lines count from 1."""
        self._sieve.close()
        self._lines_before += self._sieve.lines
        self._pending.clear()
        self._start(log)

    def feed(self, piece: bytes) -> None:
        """Scan the next piece of output, cut anywhere."""
        self._sieve.feed(piece)

    def hear(self, line: str | bytes) -> None:
        """Scan the next line of output."""
        if isinstance(line, str):
            line = line.encode(errors="replace")
        self._sieve.hear(line)

    def diagnosis(self) -> Diagnosis:
        """Return the diagnosis so far. More output may follow."""
        self._sieve.close()
        return Diagnosis(
            conclude(self._tallies.values(), self._node_of),
            self._lines_before + self._sieve.lines,
            self._records,
            self._newer_records,
            tuple(_line(*where) for where in self._suspicious),
        )

    def _take(self, raw: bytes, number: int) -> bool:
        """Match one line; return whether the next is needed, whatever it holds."""
        self._taken += 1
        if len(raw) < causes.FEWEST_PLAIN and not self._pending:
            return False
        text = self._without_record(raw.decode(errors="replace"))
        who, body = log_line.strip_srun_label(text)
        match = self._catalogue.match(body)
        resolved = self._resolve(who, body) if self._pending else None
        if match and match.cause.then:
            self._await(match, who)
        named = resolved if match is None or match.cause.only_then else match
        if named:
            self._count(named, who, _line(number, self._log, body))
        elif not self._pending and log_line.looks_like_error(body):
            self._suspicious.append((number, self._log, body))
        return bool(self._pending)

    def _without_record(self, text: str) -> str:
        """Return the text before one of the kit's records; read the rank's node from it."""
        found = _RECORD.search(text) if _OWN in text else None
        if found is None:
            return text
        version = int(found[1])
        if version != _VERSION or not self._believes_records:
            self._newer_records += version > _VERSION
            return text[: found.start()]
        self._records += 1
        place = _RANK_AND_NODE.search(text, found.end())
        if place:
            self.place((int(place[1]),), place[2])
        return text[: found.start()]

    def _await(self, match: Match, who: str) -> None:
        """Search the next lines of this rank for the missing facts."""
        if len(self._pending) < _MAX_PENDING:
            until = self._taken + _FOLLOWUP_MAX_LINES
            pending = _Pending(match.cause, match.cause.within, until)
            self._pending[who][match.cause.id] = pending

    def _resolve(self, who: str, body: str) -> Match | None:
        """Take facts from a later line; return the cause that is complete with them."""
        complete = None
        for pending in list(self._pending.get(who, {}).values()) if body else ():
            cause = pending.cause
            found = causes.compiled(cause.then[pending.step]).search(body)
            if found and cause.only_then:
                complete = Match(cause, causes.facts_of(found))
            elif found:
                self._concern(cause, causes.facts_of(found), "")
            if pending.is_over(found is not None):
                self._forget(who, cause)
        if self._taken % _FOLLOWUP_MAX_LINES == 0:
            self._forget_the_silent()
        return complete

    def _forget(self, who: str, cause: Cause) -> None:
        del self._pending[who][cause.id]
        if not self._pending[who]:
            del self._pending[who]

    def _forget_the_silent(self) -> None:
        for who, pendings in list(self._pending.items()):
            for pending in list(pendings.values()):
                if pending.until <= self._taken:
                    self._forget(who, pending.cause)

    def _count(self, match: Match, who: str, line: Line) -> None:
        cause = match.cause
        speaker = "" if log_line.is_slurm_message(line.text) else who
        tally = self._tallies.get(cause.id)
        if tally is not None:
            tally.count += 1
            if cause.ending:
                self.place(self._ranks(match.facts), match.facts.get("node", ""))
                return
        else:
            facts = {k: printable(v) for k, v in match.facts.items()}
            self._tallies[cause.id] = CauseHits(cause, line, self._taken, facts)
        self._concern(cause, match.facts, speaker)
        host = log_line.host(line.text)
        if host:
            self._name_node(cause, host)

    def _concern(self, cause: Cause, facts: Mapping[str, str], who: str) -> None:
        """Add the ranks concerned: from the line, the cause, or srun's label."""
        tally = self._tallies[cause.id]
        ranks = self._ranks(facts) or cause.ranks
        if not ranks and who and not cause.names_ranks:
            ranks = (int(who),)
        if len(tally.ranks) < _MAX_RANKS:
            tally.ranks.update(ranks)
        for name, value in facts.items():
            if name.startswith("node"):
                self._name_node(cause, value)
                self.place(ranks, value)

    def _ranks(self, facts: Mapping[str, str]) -> tuple[int, ...]:
        named = [value for name, value in facts.items() if name.startswith("rank")]
        most = min(self._nameable, _MAX_RANKS)
        ranks = tuple(log_line.numbers(" ".join(named), most))
        self._nameable -= len(ranks)
        return ranks

    def _name_node(self, cause: Cause, node: str) -> None:
        nodes = self._tallies[cause.id].nodes
        if len(nodes) < _MAX_NODES:
            nodes[printable(node)] = None

    def place(
        self, ranks: Iterable[int], node: str, *, is_certain: bool = False
    ) -> None:
        """Set the node of ranks, for lines that name only their numbers.

        `is_certain`: from the ranks' own records, which override other lines.
        """
        for rank in ranks:
            is_wanted = is_certain or rank not in self._node_of
            if node and is_wanted and len(self._node_of) < _MAX_RANKS:
                self._node_of[rank] = printable(node)


def _line(number: int, log: str, body: str) -> Line:
    return Line(log, number, printable(body.strip()[:_MAX_SHOWN]))
