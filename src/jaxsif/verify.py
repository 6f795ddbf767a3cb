"""`jax-sif verify`: read a job's output as it arrives and end with a verdict."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from jaxsif import launcher
from jaxsif.bandwidth import hardware
from jaxsif.baseline import chosen_baseline
from jaxsif.core import strict_json
from jaxsif.core.atomic_write import atomic_write
from jaxsif.core.errors import (
    COULD_NOT_TELL,
    PASS,
    REQUEUE,
    CouldNotTell,
    KitError,
    UsageError,
)
from jaxsif.core.history import JobState
from jaxsif.core.hostlist import expand
from jaxsif.core.image import kit_version
from jaxsif.core.interruption import Interruption, keep_in_memory
from jaxsif.core.records import KEY_VARIABLE, PHASES, REQUEUE_REQUEST, job_keys
from jaxsif.core.slurm_env import JOB_NODE_LIST
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology, parse_topology
from jaxsif.logs.diagnosis import Diagnosis
from jaxsif.logs.scanner import LogScanner
from jaxsif.verdict import render
from jaxsif.verdict.stream import Stream
from jaxsif.verdict.verdict import Verdict, is_empty, judge

_STANDARD_INPUT = "-"
_PIECE_BYTES = 1 << 16
_IDLE_NOTICE_S = 10.0
# After a rank has failed srun ends the others within moments, and a diagnostic's ranks
# have nothing to save. Those of a user's program may: at SIGTERM, or at exit, within the
# 30 s that Slurm gives them (KillWait). Only silence counts: a rank that prints is busy.
_SRUN_EXIT_TIMEOUT_S = 2.0
_PROGRAM_SILENT_S = 30.0
# An exception alone is no end: a program without the kit may upload its results at exit.
_RAISED_SILENT_S = 120.0

# JAX lets the ranks of a diagnostic wait for each other for 10 s at their end.
_ALL_DONE_SILENT_S = 30.0

_FAILED_RANK = "the launcher does not end after a rank has failed"
_SILENT_RANK = "the launcher waits for a rank that no longer reports"
_ALL_DONE = (
    f"the launcher does not end {_ALL_DONE_SILENT_S:.0f} s after all ranks were done"
)

# Printed instead of a verdict.
_NO_VERDICT = (
    "NO VERDICT  no rank reported anything and no error was found; keeping the program's"
    " exit status\n"
    "   -> call jaxsif.initialize_distributed() first, so that the verdict can name ranks,"
    " devices and causes\n"
)

_DESCRIPTIONS = {
    "started": "started",
    "connected": "connected",
    "devices": "reported devices",
    "allreduce": "all-reduce ok",
    "identity": "verified peers",
    "done": "done",
}


def verify(
    log: str,
    label: str | None,
    json_file: Path | None,
    *,
    is_program: bool = False,
    is_strict: bool = False,
    baseline_file: str | None = None,
) -> int:
    """Verify a job's output and return the exit status.

    Args:
      log: a file's path, or `-` for standard input.
      label: the requested topology; default: the job's variable, then the records.
      json_file: file for the verdicts as JSON.
      is_program: whether it is a user's program, which need not report anything. The exit
        status is then 0 if no error is known, so that srun's counts.
      is_strict: whether warnings fail.
      baseline_file: speeds to compare with; default: the job's variable, if any.
    """
    baseline = chosen_baseline(baseline_file, os.environ)
    topology = _requested_topology(label, os.environ)
    nodes = _job_nodes(os.environ)
    job_state = JobState(topology.processes if topology else None, nodes)
    scanner = LogScanner(believes_records=False)
    progress = Progress(job_state, topology, is_program=is_program)
    # A file may belong to any job, a pipe's data to this one.
    keys = job_keys(os.environ) if log == _STANDARD_INPUT else ()
    stream = Stream(job_state.add, job_state.add_line, keys)

    def conclude() -> int:
        """Write the verdict on the output so far."""
        verdicts = judge(
            job_state,
            topology or _reported_topology(job_state, stream),
            stream.damaged,
            nodes,
            replace(_diagnosis(job_state, scanner), newer_records=stream.newer),
            is_strict=is_strict,
            baseline=baseline,
            foreign=stream.foreign,
            is_program=is_program,
        )
        is_unasked = is_program and not stream.damaged and all(map(is_empty, verdicts))
        # Programs search for the verdict at the start of a line.
        sys.stdout.write("\n" if progress.is_mid_line else "")
        progress.is_mid_line = False
        for verdict in verdicts:
            sys.stdout.write(_NO_VERDICT if is_unasked else render.text(verdict))
        sys.stdout.flush()
        if json_file is not None:
            _write_json(json_file, verdicts)
        return PASS if is_unasked else _status(verdicts)

    with _open(log) as source:
        interruption = None if _is_file(source) else Interruption()
        if interruption is not None:
            _read_files()
            keep_in_memory()
        follower = _Follower(stream, scanner, progress, interruption, conclude)
        follower.follow(source)
    if stream.foreign:
        _note_foreign(stream.foreign)
    return conclude()


def _read_files() -> None:
    """Read what a verdict needs while the image is certainly mounted.

    At a job's end Slurm ends the program that mounts it, and no file opens any more.
    """
    kit_version()
    hardware.table()


def _status(verdicts: list[Verdict]) -> int:
    status = _worst([verdict.program_status or verdict.status for verdict in verdicts])
    return REQUEUE if status == PASS and _requests_requeue(verdicts) else status


def _diagnosis(job_state: JobState, scanner: LogScanner) -> Diagnosis:
    for histories in job_state.steps.values():
        for history in histories.values():
            scanner.set_rank_node([history.rank], history.node, is_certain=True)
    return scanner.diagnosis()


def _requests_requeue(verdicts: list[Verdict]) -> bool:
    """Whether a program requests that its job be requeued."""
    histories = (
        history for verdict in verdicts for history in verdict.histories.values()
    )
    return any(REQUEUE_REQUEST in history.phases for history in histories)


class Progress:
    """Print progress: one live line on a terminal, otherwise one line per phase."""

    def __init__(
        self, job_state: JobState, topology: Topology | None, *, is_program: bool
    ) -> None:
        self._board = job_state
        self._is_program = is_program
        self._topology = topology
        self._started_s = time.monotonic()
        self._reported: set[str] = set()
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._is_line_open = False
        # Whether the last line shown is incomplete.
        self.is_mid_line = False

    @property
    def has_failed_rank(self) -> bool:
        """Whether a rank is known to have failed, so that the step cannot pass."""
        # At SIGTERM a program may save its state until Slurm kills it.
        job_state = self._board
        has_failed = job_state.has_failed_rank or job_state.has_raised_rank
        return has_failed and not job_state.is_ended_from_outside

    @property
    def has_silent_rank(self) -> bool:
        """Whether a rank stopped reporting before the group was formed."""
        job_state = self._board
        return job_state.has_silent_rank and not job_state.is_ended_from_outside

    @property
    def is_diagnostic(self) -> bool:
        return not self._is_program

    @property
    def is_over(self) -> bool:
        """Whether every rank is done, and nothing has failed."""
        if self._topology is None or self._board.count["done"] == 0:
            return False
        return all(
            len(histories) >= self._topology.processes
            and all(history.is_done for history in histories.values())
            for histories in self._board.steps.values()
        )

    @property
    def _has_done_ranks(self) -> bool:
        return self._board.count["done"] > 0

    def note_ended_launcher(self, has_ended: bool) -> None:
        """Called when we have tried to end the launcher."""
        self._board.has_ended_launcher |= has_ended

    def note_hung_launcher(self) -> None:
        """Called when the launcher was ended although all ranks were done."""
        self._board.has_launcher_hung = True

    @property
    def silence_s(self) -> float:
        """How long the output may be silent before the launcher is checked."""
        if not self.has_failed_rank:
            return _ALL_DONE_SILENT_S if self._has_done_ranks else _IDLE_NOTICE_S
        if not self._board.has_failed_rank:
            return _RAISED_SILENT_S
        return _PROGRAM_SILENT_S if self._is_program else _SRUN_EXIT_TIMEOUT_S

    def update(self) -> None:
        """Called when records have arrived."""
        if self._topology is None:
            return
        expected = self._topology.processes
        counts = [(phase, self._board.count[phase]) for phase in PHASES]
        if self._is_live:
            reached = ", ".join(
                f"{n} {_DESCRIPTIONS[phase]}" for phase, n in counts if n
            )
            self._write(f"\r\x1b[Kjax-sif: of {expected} ranks {reached}")
            self._is_line_open = True
            return
        for phase, count in counts:
            if count >= expected and phase not in self._reported:
                self._reported.add(phase)
                self._write(
                    f"jax-sif: {expected} of {expected} ranks {_DESCRIPTIONS[phase]}\n"
                )

    def waiting(self) -> None:
        """Called when nothing has arrived for a while."""
        if self._topology is None or self._is_live:
            return
        expected, started = self._topology.processes, self._board.count["started"]
        # A user's program may never report anything.
        if started < expected and (started or not self._is_program):
            elapsed_s = time.monotonic() - self._started_s
            self._write(
                f"jax-sif: {started} of {expected} ranks started"
                f" after {elapsed_s:.0f} s\n"
            )

    def note_interruption(self, reason: str | None) -> None:
        """Called at a signal: any exit from now on is its consequence."""
        if reason is not None:
            self._board.interrupt(reason)

    def interrupted(self, reason: str) -> None:
        """Called when the verdict is requested before the output has ended."""
        self.clear()
        self._write(f"jax-sif: {reason}; what is known now:\n")

    def clear(self) -> None:
        """Remove the live line before other text is shown."""
        if self._is_line_open:
            self._write("\r\x1b[K")
            self._is_line_open = False

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


class _Follower:
    """Show the output as it arrives, and pass each piece to stream and log scanner."""

    def __init__(
        self,
        stream: Stream,
        scanner: LogScanner,
        progress: Progress,
        interruption: Interruption | None,
        conclude: Callable[[], int],
    ) -> None:
        """`interruption`: None for a file, which ends soon; its signals end us."""
        self._stream = stream
        self._scanner = scanner
        self._progress = progress
        self._interruption = interruption
        self._conclude = conclude
        self._has_concluded = False

    def follow(self, source: BinaryIO) -> None:
        """Run until the output ends, or no rank is left whose output matters."""
        for piece in self._pieces(source):
            shown = self._stream.feed(piece)
            self._scanner.feed(shown)
            self._show(shown)
            self._progress.update()
        if self._interruption is not None:
            self._progress.note_interruption(self._interruption.reason)
        rest = self._stream.close()
        self._scanner.feed(rest)
        self._show(rest)
        self._progress.update()
        self._progress.clear()

    def _show(self, text: bytes) -> None:
        if text:
            self._progress.clear()
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
            self._progress.is_mid_line = not text.endswith(b"\n")

    def _pieces(self, source: BinaryIO) -> Iterator[bytes]:
        """The input as it arrives; a file is always ready, a pipe may be silent.

        Ends the launcher if it does not end by itself after a rank has failed: srun waits
        for a lost node as long as Slurm does, for minutes. Never while anything is
        printed, and never because of a line's text: only a rank's record or a marked line
        of the launcher is evidence of a failed rank.
        """
        descriptor = source.fileno()
        progress = self._progress
        while True:
            if self._wait(descriptor, progress.silence_s):
                piece = os.read(descriptor, _PIECE_BYTES)
                if not piece:
                    return
                yield piece
                if progress.has_silent_rank and self._end(_SILENT_RANK):
                    return
            else:
                progress.waiting()
                if progress.has_failed_rank and self._end(_FAILED_RANK):
                    return
                if progress.is_over and self._end_what_is_over():
                    return

    def _wait(self, descriptor: int, limit_s: float) -> bool:
        """Whether there is input within the limit; handles signals meanwhile."""
        until_s = time.monotonic() + limit_s
        interruption = self._interruption
        while True:
            left_s = max(0.0, until_s - time.monotonic())
            if interruption is None:
                return bool(select.select([descriptor], [], [], left_s)[0])
            if interruption.is_due():
                self._conclude_early(interruption.reason)
            due_s = interruption.left_s()
            pause_s = left_s if due_s is None else min(left_s, due_s)
            ready = select.select([descriptor, interruption.wake], [], [], pause_s)[0]
            if interruption.wake in ready:
                interruption.awake()
                self._progress.note_interruption(interruption.reason)
            if descriptor in ready:
                return True
            if not left_s:
                return False

    def _end(self, why: str, only: str | None = None) -> bool:
        has_ended = launcher.terminate_srun(why, only=only)
        self._progress.note_ended_launcher(has_ended)
        return has_ended

    def _end_what_is_over(self) -> bool:
        """All ranks are done; return whether the launcher had to be ended.

        Only a diagnostic's launcher: a user's program may still work at its exit.
        """
        progress = self._progress
        if progress.is_diagnostic and self._end(_ALL_DONE, only="srun"):
            progress.note_hung_launcher()
            return True
        if not self._has_concluded:
            self._has_concluded = True
            self._conclude_early(_ALL_DONE)
        return False

    def _conclude_early(self, reason: str | None) -> None:
        """Write a preliminary verdict; another may follow when the output ends."""
        self._progress.interrupted(str(reason))
        try:
            self._conclude()
        except KitError as error:
            print(f"jax-sif: {error}", file=sys.stderr)


def _is_file(source: BinaryIO) -> bool:
    return stat.S_ISREG(os.fstat(source.fileno()).st_mode)


def _open(log: str) -> BinaryIO:
    try:
        return sys.stdin.buffer if log == _STANDARD_INPUT else open(log, "rb")
    except OSError as error:
        raise UsageError(
            f"cannot read the log {log!r}: {error.strerror}; give the path of a job's"
            " output, or - for standard input"
        ) from error


def _requested_topology(
    label: str | None, environment: Mapping[str, str]
) -> Topology | None:
    label = label or environment.get(TOPOLOGY_VARIABLE)
    return parse_topology(label) if label else None


def _job_nodes(environment: Mapping[str, str]) -> list[str]:
    """The job's nodes, if running inside the job."""
    try:
        return expand(environment.get(JOB_NODE_LIST, ""))
    except ValueError:
        return []


def _note_foreign(lines: int) -> None:
    print(
        f"jax-sif: {lines} lines look like records but are not from this job (their key"
        f" differs from {KEY_VARIABLE}); they are shown as text and ignored",
        file=sys.stderr,
        flush=True,
    )


def _reported_topology(job_state: JobState, stream: Stream) -> Topology:
    """The topology that the ranks reported, if it is not given otherwise."""
    if not job_state.steps and stream.newer:
        raise CouldNotTell(
            "all records in the input are from a newer jax-sif than this one; use the"
            " jax-sif of the job's image: singularity exec $JAX_IMAGE jax-sif verify"
        )
    for histories in job_state.steps.values():
        for history in histories.values():
            label = history.fact("started", "topology")
            if label:
                return parse_topology(str(label))
    if job_state.launched:
        return parse_topology(job_state.launched)
    raise UsageError(
        f"no topology: {TOPOLOGY_VARIABLE} is not set and no record names one; run"
        " jax-sif verify --topology G8N2p4 (8 devices, 2 nodes, 4 processes)"
    )


def _write_json(path: Path, verdicts: list[Verdict]) -> None:
    content = {
        "schema": render.SCHEMA,
        "kit": kit_version(),
        "verdicts": [render.as_json(verdict) for verdict in verdicts],
    }
    try:
        atomic_write(
            path,
            strict_json.encode(content),
            "the verdict above is valid, only the file is missing",
        )
    except KitError as error:
        print(f"jax-sif: warning: {error}", file=sys.stderr)


def _worst(statuses: list[int]) -> int:
    """A failure outweighs doubt, doubt outweighs a pass."""
    failures = [s for s in statuses if s not in (PASS, COULD_NOT_TELL)]
    return max(failures, default=max(statuses))
