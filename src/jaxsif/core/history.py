"""The state of a job's steps and ranks, from records and launcher messages."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from jaxsif.core.hostlist import MAX_NAMES, expand
from jaxsif.core.records import (
    DEADLINE_EXCEEDED,
    FAILED,
    PHASES,
    AllReduceRecord,
    Measurement,
    MovingRecord,
    PhaseRecord,
    Record,
    Reported,
    StalledRecord,
    StartedRecord,
)
from jaxsif.core.silence import Silence
from jaxsif.core.text import printable

# Results kept per rank; more than any program in diag/ reports.
_MAX_MEASUREMENTS = 4096


@dataclass
class RankHistory(Reported):
    """One rank: the last record of each reported phase, and all its measurements."""

    rank: int
    node: str
    phases: dict[str, PhaseRecord] = field(default_factory=dict)
    # When each phase arrived, counted in records: clocks of two nodes may disagree.
    arrival: dict[str, int] = field(default_factory=dict)
    # Above 1 if two programs reported as this rank; the first one's records are lost.
    start_count: int = 0
    measurements: list[Measurement] = field(default_factory=list)

    @property
    def phase(self) -> str:
        """The last phase reached."""
        return next((p for p in reversed(PHASES) if p in self.phases), "unknown")

    @property
    def may_begin_anew(self) -> bool:
        """Whether the rank finished a user's program and may start another one.

        An evaluation may follow its training in the same step. False if dropping this
        history would lose measurements.
        """
        has_measured = bool(self.measurements) or self.last(AllReduceRecord)
        has_group = self.started is not None and self.started.processes != 1
        return bool(self.is_done and has_group and not has_measured)


Histories = dict[int, RankHistory]

_EXIT_CODE = re.compile(r"Exited with exit code (\d{1,3})")
_SIGNAL_NAMES = {signal.strsignal(number): number for number in signal.valid_signals()}


@dataclass(frozen=True)
class RankExit:
    """Ranks of one node that failed, as reported by srun or `jax-sif launch`."""

    node: str
    ranks: tuple[int, ...]
    reason: str
    speaker: str = "srun"

    @property
    def exit_status(self) -> int | None:
        """The exit status in the reason, as in a shell; None if it has none."""
        code = _EXIT_CODE.match(self.reason)
        if code is not None:
            return int(code[1])
        number = _SIGNAL_NAMES.get(self.reason.removesuffix(" (core dumped)"))
        return None if number is None else 128 + number


_ENDING = re.compile(r"(srun|jax-sif launch): error: (\S+): tasks? ([\d,-]+): (.+)")
# Its first line: `jax-sif launch: G4N2p4 as node1 to node2 on this machine`.
_LAUNCH = re.compile(r"jax-sif launch: (\S+) as node1")
# `slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-02T03:04:05 ***`, and from
# Slurm 26.05 on with the time, and `DUE to SIGNAL Terminated`, where the name stood.
_CANCEL = re.compile(
    r"\S+ error: \*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT \S+"
    r"(?: DUE (?:TO|to) (.+?))? \*\*\*"
)
# What srun itself prints when its step is ended from outside.
_ABORT = re.compile(r"srun: (?:Job step aborted|forcing job termination|interrupt)")


# The node's slurmd does not respond, and Slurm ends the job.
_NODE_FAILURE = re.compile(r"srun: error: Node failure on (\S{1,255})$")


class JobState:
    """All ranks of all steps in a stream.

    Memory grows with the ranks and their measurements, not with the records.
    """

    def __init__(
        self, processes: int | None = None, nodes: Collection[str] = ()
    ) -> None:
        """`processes`, `nodes`: of this step, if known.

        srun's lines about any other task are a program's text.
        """
        self._processes = processes
        self._nodes = frozenset(nodes)
        # Whether the launcher's lines are marked; then no other line is trusted.
        self.is_marked = False
        # Exits by rank, in order of time: from marked lines, and from any line.
        self._ended_by_launcher: dict[int, RankExit] = {}
        self._ended_by_text: dict[int, RankExit] = {}
        # Whether srun reports that its step was ended from outside before any rank
        # ended.
        self._is_aborted = False
        # Why Slurm ended the step, by a line that any program could print.
        self._cancel_reason: str | None = None
        # Failed nodes according to Slurm, unless the step was ended before.
        self._failed_by_launcher: dict[str, None] = {}
        self._failed_by_text: dict[str, None] = {}
        # Why the verdict was asked for before the output had ended.
        self.interrupted: str | None = None
        # Number of ranks that reported each phase, over all steps.
        self.count: Counter[str] = Counter()
        # The topology reported by `jax-sif launch`.
        self.launched: str | None = None
        # Whether a rank is known to have ended badly: by a record of its own, or by a
        # marked line of the launcher's. Only this gives the right to end the launcher.
        self.has_failed_rank = False
        # The same of a program without the kit, which may be busy at its exit still.
        self.has_raised_rank = False
        self._records = 0
        # How many more ranks lines of Slurm's may name, each line's counted anew.
        self._nameable = 2 * MAX_NAMES
        self._runs: dict[str, tuple[int, Histories]] = {}
        # By step: which ranks stopped reporting before the group was formed.
        self._silences: dict[str, Silence] = {}
        # Whether we ended the launcher, so that it could not say how its tasks ended;
        # and whether that was although all ranks were done.
        self.has_ended_launcher = self.has_launcher_hung = False

    def add(self, record: Record) -> None:
        """Add one record; a later restart of a step replaces the earlier one."""
        if isinstance(record, StalledRecord | MovingRecord):
            # From a process beside the rank, see hang/group.py.
            return
        histories = self._histories_of(record.step)
        if histories is None:
            return
        rank, phase = record.rank, record.phase
        if rank not in histories:
            histories[rank] = RankHistory(rank, record.node)
        self._records += 1
        if not self.is_ended_from_outside:
            self._silences[record.step.rpartition(".")[0]].add(record)
        is_start = isinstance(record, StartedRecord)
        if is_start and histories[rank].may_begin_anew:
            self.count.subtract(list(histories[rank].phases))
            histories[rank] = RankHistory(rank, record.node)
        if isinstance(record, Measurement):
            if len(histories[rank].measurements) < _MAX_MEASUREMENTS:
                histories[rank].measurements.append(record)
            return
        histories[rank].start_count += is_start
        phases = histories[rank].phases
        self.count[phase] += phase not in phases
        phases[phase] = record
        if phase in (FAILED, DEADLINE_EXCEEDED) and not self.is_ended_from_outside:
            # The kit ends its ranks at once.
            has_kit = "started" in phases
            self.has_failed_rank |= has_kit
            self.has_raised_rank |= not has_kit
        histories[rank].arrival[phase] = self._records

    @property
    def ended(self) -> dict[int, RankExit]:
        """Exits by rank, in order of time; only the first of each rank counts."""
        return self._ended_by_launcher if self.is_marked else self._ended_by_text

    @property
    def cancelled(self) -> str | None:
        """Why the step was cancelled; None if not, or if a rank had ended before."""
        if self.is_marked and not self._is_aborted:
            return None
        reason = self._cancel_reason
        if reason is None and self._is_aborted:
            reason = "cancelled"
        return reason and f"Slurm ended the step: {reason}"

    def add_line(self, line: str, is_launchers: bool = False) -> None:
        """Add a line of Slurm's about the end of ranks or of the step.

        `is_launchers`: the line is marked, so it is known to be the launcher's.
        """
        line = printable(line.rstrip())
        self.is_marked |= is_launchers
        self._add_cancel(line)
        self._add_node_failure(line, is_launchers)
        has_reason = self._ended_by_launcher or self.failed_nodes
        if is_launchers and _ABORT.match(line) and not has_reason:
            self._is_aborted = True
        launch = _LAUNCH.match(line)
        if launch is not None:
            self.launched = launch[1]
        if self.is_marked and not is_launchers:
            return
        ending = self._ending(line)
        if ending is None:
            return
        for rank in ending.ranks:
            self._ended_by_text.setdefault(rank, ending)
            if is_launchers:
                self._ended_by_launcher.setdefault(rank, ending)
        # `jax-sif launch` always ends by itself.
        self.has_failed_rank |= is_launchers and ending.speaker == "srun"

    def _add_cancel(self, line: str) -> None:
        found = _CANCEL.match(line)
        has_reason = self._cancel_reason is not None or self.ended or self.failed_nodes
        if found is None or has_reason:
            return
        reason = (found[1] or "cancelled").lower()
        # Slurm prints the same when it ends the step because of a failed rank or node,
        # which other lines name.
        if reason != "task failure" and not reason.startswith("node fail"):
            self._cancel_reason = reason

    def _add_node_failure(self, line: str, is_launchers: bool) -> None:
        found = _NODE_FAILURE.match(line)
        # An interruption may come first: Slurm sends SIGTERM because of the node.
        if found is None or self.cancelled:
            return
        try:
            nodes = expand(found[1])
        except ValueError:
            return
        nodes = [n for n in nodes if n in self._nodes or not self._nodes]
        self._failed_by_text.update(dict.fromkeys(nodes))
        if is_launchers:
            self._failed_by_launcher.update(dict.fromkeys(nodes))
            self.has_failed_rank |= bool(nodes)

    @property
    def failed_nodes(self) -> tuple[str, ...]:
        """Nodes that failed according to Slurm, which ended the job because of them."""
        by_launcher = self._failed_by_launcher
        return tuple(by_launcher if self.is_marked else self._failed_by_text)

    def _ending(self, line: str) -> RankExit | None:
        """The failed ranks of this step that the line names."""
        match = _ENDING.match(line)
        if match is None or self.is_ended_from_outside:
            return None
        speaker, node, numbers, reason = match.groups()
        # The nodes of `jax-sif launch` are not Slurm's.
        if self._nodes and speaker == "srun" and node not in self._nodes:
            return None
        try:
            ranks = tuple(map(int, expand(f"[{numbers}]", self._nameable)))
        except ValueError:
            return None
        self._nameable -= len(ranks)
        if self._processes is not None:
            ranks = tuple(rank for rank in ranks if rank < self._processes)
        return RankExit(node, ranks, reason.strip(), speaker) if ranks else None

    def interrupt(self, reason: str) -> None:
        """Note a signal to the verdict's process, unless ranks have already failed."""
        has_failed = self.has_failed_rank or self.ended
        if not has_failed and self.interrupted is None:
            self.interrupted = f"the job was interrupted: {reason}"

    @property
    def is_ended_from_outside(self) -> bool:
        """Whether the step was ended from outside, so that no rank is the cause."""
        return not self.failed_nodes and bool(self.cancelled or self.interrupted)

    def _histories_of(self, run: str) -> Histories | None:
        """The ranks of `cluster.job.step.restart`; None if a later one started."""
        step, _, text = run.rpartition(".")
        # More digits than any restart count has.
        restart = int(text) if text.isdecimal() and len(text) < 19 else 0
        latest, histories = self._runs.get(step, (-1, {}))
        if restart > latest:
            for history in histories.values():
                self.count.subtract(history.phases.keys())
            histories = {}
            self._runs[step] = (restart, histories)
            self._silences[step] = Silence()
        return histories if restart >= latest else None

    def silent(self, step: str) -> frozenset[int]:
        """The ranks of a step that stopped reporting while all others went on."""
        silence = self._silences.get(step)
        return silence.ranks if silence else frozenset()

    @property
    def has_silent_rank(self) -> bool:
        return any(silence.ranks for silence in self._silences.values())

    @property
    def steps(self) -> dict[str, Histories]:
        """The ranks of each step, `cluster.job.step`, in order of rank."""
        return {
            step: dict(sorted(histories.items()))
            for step, (_, histories) in self._runs.items()
        }
