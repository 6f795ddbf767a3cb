"""Timelines of the ranks, and a breakdown of the time."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from jaxsif.core.records import DEADLINE_EXCEEDED, FAILED, PHASES, TERMINATED
from jaxsif.core.verdict_file import RankReport, StepVerdict

# A milestone begins and ends intervals. Most are the records of phases.
Milestone = str

PROCESS_START, ENTRY_START = "process_start", "entry_start"
PREFLIGHT_DONE, JAX_IMPORTED = "preflight_done", "jax_imported"
STARTED, CONNECTED, DEVICES, ALL_REDUCED, IDENTIFIED, DONE = PHASES
ENDS: tuple[Milestone, ...] = (FAILED, DEADLINE_EXCEEDED, TERMINATED)

MILESTONES = (
    PROCESS_START,
    ENTRY_START,
    STARTED,
    PREFLIGHT_DONE,
    JAX_IMPORTED,
    CONNECTED,
    DEVICES,
    ALL_REDUCED,
    IDENTIFIED,
    DONE,
)

# Labels of the intervals, by the milestone at their end.
LABELS = {
    ENTRY_START: "process begins, image opens",
    STARTED: "entry and Python start",
    PREFLIGHT_DONE: "checks node and way to rank 0",
    JAX_IMPORTED: "JAX is imported",
    CONNECTED: "joins the group",
    DEVICES: "finds its devices",
    ALL_REDUCED: "first all-reduce: compile and run",
    IDENTIFIED: "proves its peers",
    DONE: "rest of the program",
}
_ENDED = "until its end"

# Why an interval is unknown, by the missing milestone.
_UNKNOWN = {
    PROCESS_START: "when the process began: recorded by an older jax-sif, or /proc is hidden",
    ENTRY_START: "when the image was open: the program was not started by the image's entry",
    JAX_IMPORTED: "when JAX was imported: the program did not call initialize_distributed()",
    ALL_REDUCED: "the program reported no all-reduce",
}


@dataclass(frozen=True)
class Interval:
    """An interval of a rank, in seconds after the first record of its node."""

    word: str
    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return max(self.end_s - self.begin_s, 0.0)


@dataclass(frozen=True)
class RankTimeline:
    """The intervals of one rank, in order."""

    rank: RankReport
    stretches: tuple[Interval, ...]

    @property
    def end_s(self) -> float:
        return self.stretches[-1].end_s if self.stretches else 0.0


@dataclass(frozen=True)
class Part:
    """An interval over all ranks that reported it."""

    word: str
    ranks: int
    median_s: float
    longest_s: float
    slowest: RankReport


def timelines(verdict: StepVerdict) -> list[RankTimeline]:
    """The timeline of every rank.

    Times are relative to the first record of the rank's node, since clocks of nodes may
    differ by more than a start takes.
    """
    zeros: dict[str, float] = {}
    for rank in verdict.ranks:
        for time_s in _times(rank).values():
            zeros[rank.node] = min(zeros.get(rank.node, time_s), time_s)
    return [RankTimeline(rank, _stretches(rank, zeros)) for rank in verdict.ranks]


def startup_breakdown(found: Sequence[RankTimeline]) -> list[Part]:
    """All reported intervals, in order."""
    words = [*LABELS.values(), _ENDED]
    parts = []
    for word in words:
        lengths = [
            (stretch.length_s, life.rank)
            for life in found
            for stretch in life.stretches
            if stretch.word == word
        ]
        if lengths:
            longest_s, slowest = max(lengths, key=lambda length: length[0])
            middle = median(length for length, _ in lengths)
            parts.append(Part(word, len(lengths), middle, longest_s, slowest))
    return parts


def unknown(verdict: StepVerdict) -> list[str]:
    """What is unknown about the start, and why; empty without ranks."""
    marks: set[Milestone] = set()
    for rank in verdict.ranks:
        marks |= _times(rank).keys()
    if not marks:
        return []
    notes = [why for mark, why in _UNKNOWN.items() if mark not in marks]
    return [*notes, "compiling and running are one interval"]


def chosen(
    found: Sequence[RankTimeline], slow_nodes: Sequence[int], most: int
) -> list[RankTimeline]:
    """Select at most `most` ranks: those named by findings, then the last to end."""
    if len(found) <= most:
        return list(found)
    named = set(slow_nodes)
    by_need = sorted(found, key=lambda life: (life.rank.rank not in named, -life.end_s))
    return sorted(by_need[:most], key=lambda life: life.rank.rank)


def _stretches(rank: RankReport, zeros: dict[str, float]) -> tuple[Interval, ...]:
    times = sorted(_times(rank).items(), key=lambda mark: mark[1])
    zero = zeros.get(rank.node, 0.0)
    return tuple(
        Interval(LABELS.get(mark, _ENDED), begin_s - zero, end_s - zero)
        for (_, begin_s), (mark, end_s) in zip(times, times[1:], strict=False)
    )


def _times(rank: RankReport) -> dict[Milestone, float]:
    """The known milestones, in order."""
    times: dict[Milestone, float | None] = {**rank.times_s}
    if rank.started is not None:
        times[PROCESS_START] = rank.started.process_start
        times[ENTRY_START] = rank.started.entry_start
    if rank.connected is not None:
        times[PREFLIGHT_DONE] = rank.connected.preflight_done
        times[JAX_IMPORTED] = rank.connected.jax_imported
    return {
        mark: time_s
        for mark in (*MILESTONES, *ENDS)
        if (time_s := times.get(mark)) is not None
    }
