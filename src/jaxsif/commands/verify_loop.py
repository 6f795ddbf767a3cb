"""Show a job's output as it arrives, its progress, and end srun when it hangs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from jaxsif.commands.hang_watch import LOOK_S, HangWatch
from jaxsif.commands.interruption import Interruption
from jaxsif.core.errors import KitError
from jaxsif.core.history import JobState
from jaxsif.core.records import PHASES
from jaxsif.core.topology import Topology
from jaxsif.logs.scanner import LogScanner
from jaxsif.verdict.stream import Stream

_CHUNK_BYTES = 1 << 16
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
_HANG = "no rank makes progress, and they stand at different lines"
_SILENT_RANK = "the launcher waits for a rank that no longer reports"
_ALL_DONE = (
    f"the launcher does not end {_ALL_DONE_SILENT_S:.0f} s after all ranks were done"
)

_DESCRIPTIONS = {
    "started": "started",
    "connected": "connected",
    "devices": "reported devices",
    "allreduce": "all-reduce ok",
    "identity": "verified peers",
    "done": "done",
}

# Processes that write into `verify`'s standard input, found by bin/jax-sif.
LAUNCHER_VARIABLE = "JAX_SIF_SRUN_PID"

# A file that is made when a rank is known to have failed; set by bin/recover.
FAILED_FILE_VARIABLE = "JAX_SIF_FAILED_FILE"

# srun passes SIGTERM on to the tasks and ends, unless it waits for a node.
SIGTERM_GRACE_S = 0.5


class Progress:
    """Print progress: one live line on a terminal, otherwise one line per phase."""

    def __init__(
        self, job_state: JobState, topology: Topology | None, *, is_program: bool
    ) -> None:
        self._job_state = job_state
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
        job_state = self._job_state
        has_failed = job_state.has_failed_rank or job_state.has_raised_rank
        return has_failed and not job_state.is_ended_from_outside

    @property
    def has_silent_rank(self) -> bool:
        """Whether a rank stopped reporting before the group was formed."""
        job_state = self._job_state
        return job_state.has_silent_rank and not job_state.is_ended_from_outside

    @property
    def is_diagnostic(self) -> bool:
        return not self._is_program

    @property
    def is_over(self) -> bool:
        """Whether every rank is done, and nothing has failed."""
        if self._topology is None or self._job_state.count["done"] == 0:
            return False
        return all(
            len(histories) >= self._topology.processes
            and all(history.is_done for history in histories.values())
            for histories in self._job_state.steps.values()
        )

    @property
    def _has_done_ranks(self) -> bool:
        return self._job_state.count["done"] > 0

    def note_ended_launcher(self, has_ended: bool) -> None:
        """Called when we have tried to end the launcher."""
        self._job_state.has_ended_launcher |= has_ended

    def note_hung_launcher(self) -> None:
        """Called when the launcher was ended although all ranks were done."""
        self._job_state.has_launcher_hung = True

    @property
    def silence_s(self) -> float:
        """How long the output may be silent before the launcher is checked."""
        if not self.has_failed_rank:
            return _ALL_DONE_SILENT_S if self._has_done_ranks else _IDLE_NOTICE_S
        if not self._job_state.has_failed_rank:
            return _RAISED_SILENT_S
        return _PROGRAM_SILENT_S if self._is_program else _SRUN_EXIT_TIMEOUT_S

    def update(self) -> None:
        """Called when records have arrived."""
        if self._topology is None:
            return
        expected = self._topology.processes
        counts = [(phase, self._job_state.count[phase]) for phase in PHASES]
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
        expected, started = self._topology.processes, self._job_state.count["started"]
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
            self._job_state.interrupt(reason)

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


class Follower:
    """Show the output as it arrives, and pass each chunk to stream and log scanner."""

    def __init__(
        self,
        stream: Stream,
        scanner: LogScanner,
        progress: Progress,
        hangs: HangWatch,
        interruption: Interruption | None,
        conclude: Callable[[], int],
    ) -> None:
        """`interruption`: None for a file, which ends soon; its signals end us."""
        self._stream = stream
        self._scanner = scanner
        self._progress = progress
        self._hangs = hangs
        self._interruption = interruption
        self._conclude = conclude
        self._has_concluded = False
        name = os.environ.get(FAILED_FILE_VARIABLE)
        self._failed_file = Path(name) if name else None

    def follow(self, source: BinaryIO) -> None:
        """Run until the output ends, or no rank is left whose output matters."""
        for chunk in self._chunks(source):
            shown = self._stream.feed(chunk)
            self._scanner.feed(shown)
            self._show(shown)
            self._progress.update()
            if self._progress.has_failed_rank:
                self._note_failed_rank()
        if self._interruption is not None:
            self._progress.note_interruption(self._interruption.reason)
        rest = self._stream.close()
        self._scanner.feed(rest)
        self._show(rest)
        self._progress.update()
        self._progress.clear()

    def _note_failed_rank(self) -> None:
        """Make the file for which jax-sif recover waits, once."""
        if self._failed_file is None:
            return
        with contextlib.suppress(OSError):
            self._failed_file.touch()
        self._failed_file = None

    def _show(self, text: bytes) -> None:
        if text:
            self._progress.clear()
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
            self._progress.is_mid_line = not text.endswith(b"\n")

    def _chunks(self, source: BinaryIO) -> Iterator[bytes]:
        """The input as it arrives; a file is always ready, a pipe may be silent.

        Ends the launcher if it does not end by itself after a rank has failed: srun waits
        for a lost node as long as Slurm does, for minutes. Never while anything is
        printed, and never because of a line's text: only a rank's record or a marked line
        of the launcher is evidence of a failed rank.
        """
        descriptor = source.fileno()
        progress = self._progress
        while True:
            has_input = self._wait(descriptor, progress.silence_s)
            if self._hangs.take() and self._end_hang():
                return
            if has_input:
                chunk = os.read(descriptor, _CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk
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
            if self._hangs.is_on:
                pause_s = min(pause_s, LOOK_S)
            ready = select.select([descriptor, interruption.wake], [], [], pause_s)[0]
            if interruption.wake in ready:
                interruption.awake()
                self._progress.note_interruption(interruption.reason)
            has_hang = self._hangs.look()
            if descriptor in ready:
                return True
            if has_hang or not left_s:
                return False

    def _end(self, why: str, only: str | None = None) -> bool:
        has_ended = terminate_srun(why, only=only)
        self._progress.note_ended_launcher(has_ended)
        return has_ended

    def _end_hang(self) -> bool:
        has_ended = self._end(_HANG)
        if not has_ended:
            self._hangs.note_not_ended()
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


def terminate_srun(why: str, *, only: str | None = None) -> bool:
    """End the launcher and any other writer; return whether there was one.

    `only`: not if any of them runs a different program, such as a shell.
    """
    launchers = [
        int(text)
        for text in set(os.environ.get(LAUNCHER_VARIABLE, "").split())
        if _is_of_our_session(int(text))
    ]
    if not launchers or (only and any(_program(p) != only for p in launchers)):
        return False
    print(f"jax-sif: {why}; ending it", file=sys.stderr, flush=True)
    _signal(launchers, signal.SIGTERM)
    deadline_s = time.monotonic() + SIGTERM_GRACE_S
    while any(map(_is_of_our_session, launchers)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    _signal(launchers, signal.SIGKILL)
    return True


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _program(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _is_of_our_session(process: int) -> bool:
    """Whether it is still a process of the same batch script."""
    try:
        return os.getsid(process) == os.getsid(0)
    except ProcessLookupError:
        return False
