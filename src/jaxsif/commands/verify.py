"""`jax-sif verify`: read a job's output as it arrives and end with a verdict."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from jaxsif.commands.baseline import requested_baseline
from jaxsif.commands.interruption import Interruption, keep_in_memory
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
from jaxsif.core.image import versions
from jaxsif.core.record_lines import KEY_VARIABLE, job_keys
from jaxsif.core.records import REQUEUE_REQUEST
from jaxsif.core.slurm_env import JOB_NODE_LIST
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology, parse_topology

if TYPE_CHECKING:
    from jaxsif.bandwidth.baseline import Baseline
    from jaxsif.core.records import Record
    from jaxsif.logs.diagnosis import Diagnosis
    from jaxsif.logs.scanner import LogScanner
    from jaxsif.verdict.stream import Stream
    from jaxsif.verdict.verdict import Verdict

_STANDARD_INPUT = "-"

# Printed instead of a verdict.
_NO_VERDICT = (
    "NO VERDICT  no rank reported anything and no error was found; keeping the"
    " program's exit status\n"
    "   -> call jaxsif.initialize_distributed() first, so that the verdict can name"
    " ranks, devices and causes\n"
)


def main(arguments: Sequence[str]) -> int:
    """Parse the options and verify the output."""
    parser = argparse.ArgumentParser(
        prog="jax-sif verify",
        description="Prints a job's output as it arrives, then a verdict.",
        epilog="Exit status: 0 pass, 1 fail, 2 usage error, 3 COULD NOT TELL, 75 pass"
        " and the program requests a requeue of its job.",
    )
    parser.add_argument(
        "log", nargs="?", default="-", help="a job's output (default: standard input)"
    )
    parser.add_argument(
        "--topology",
        metavar="G8N2p4",
        help="total devices, nodes and processes (default: $JAX_SIF_TOPOLOGY)",
    )
    parser.add_argument(
        "--verdict-file",
        type=Path,
        default=os.environ.get("JAX_SIF_VERDICT_FILE") or None,
        metavar="FILE",
        help="write the verdict for programs too; $JAX_SIF_VERDICT_FILE by default",
    )
    parser.add_argument(
        "--user-program",
        action="store_true",
        help="for user programs: if the output contains no records, give no verdict"
        " and keep the program's exit status",
    )
    parser.add_argument(
        "--strict", action="store_true", help="treat warnings as failures"
    )
    parser.add_argument(
        "--baseline",
        metavar="FILE",
        help="compare speeds with this file of jax-sif baseline (default:"
        " $JAX_SIF_BASELINE)",
    )
    chosen = parser.parse_args(arguments)
    return verify(
        chosen.log,
        chosen.topology,
        chosen.verdict_file,
        is_program=chosen.user_program,
        is_strict=chosen.strict,
        baseline_file=chosen.baseline,
    )


def verify(
    log: str,
    label: str | None,
    verdict_file: Path | None,
    *,
    is_program: bool = False,
    is_strict: bool = False,
    baseline_file: str | None = None,
) -> int:
    """Verify a job's output and return the exit status.

    Args:
      log: a file's path, or `-` for standard input.
      label: the requested topology; default: the job's variable, then the records.
      verdict_file: file for the verdicts as JSON.
      is_program: whether it is a user's program, which need not report anything. The
        exit status is then 0 if no error is known, so that srun's counts.
      is_strict: whether warnings fail.
      baseline_file: speeds to compare with; default: the job's variable, if any.
    """
    from jaxsif.commands.verify_loop import Follower

    baseline = requested_baseline(baseline_file, os.environ)
    found = _Evidence(log, label, verdict_file, is_program=is_program)

    def conclude() -> int:
        """Write the verdict on the output so far."""
        verdicts = found.judged(is_strict, baseline)
        status = found.show(verdicts)
        if verdict_file is not None:
            _write_json(verdict_file, verdicts)
        return status

    with _open(log) as source:
        interruption = None if _is_file(source) else Interruption()
        if interruption is not None:
            _read_files()
            keep_in_memory()
        Follower(
            found.stream,
            found.scanner,
            found.progress,
            found.hangs,
            interruption,
            conclude,
        ).follow(source)
    if found.stream.foreign:
        _note_foreign(found.stream.foreign)
    return conclude()


class _Evidence:
    """What the output and the environment have shown so far, and the verdict on it."""

    def __init__(
        self,
        log: str,
        label: str | None,
        verdict_file: Path | None,
        *,
        is_program: bool,
    ) -> None:
        # Everything is imported before the output ends; see _read_files().
        from jaxsif.commands.hang_watch import HangWatch
        from jaxsif.commands.verify_loop import Progress
        from jaxsif.logs.scanner import LogScanner
        from jaxsif.verdict import render, verdict
        from jaxsif.verdict.stream import Stream

        self._judge, self._is_empty = verdict.judge, verdict.is_empty
        self._text = render.text
        self._topology = _requested_topology(label, os.environ)
        self._nodes = _job_nodes(os.environ)
        self._is_program = is_program
        processes = self._topology.processes if self._topology else None
        self._job_state = JobState(processes, self._nodes)
        self.scanner = LogScanner(believes_records=False)
        self.progress = Progress(self._job_state, self._topology, is_program=is_program)
        self.hangs = HangWatch(self._topology, os.environ, verdict_file)
        # A file may belong to any job, a pipe's data to this one.
        keys = job_keys(os.environ) if log == _STANDARD_INPUT else ()
        self.stream = Stream(self._add, self._job_state.add_line, keys)

    def _add(self, record: Record) -> None:
        if not self.hangs.add(record):
            self._job_state.add(record)

    def judged(self, is_strict: bool, baseline: Baseline | None) -> list[Verdict]:
        """The verdict on each step."""
        return self._judge(
            self._job_state,
            self._topology or _reported_topology(self._job_state, self.stream),
            self.stream.damaged,
            self._nodes,
            replace(
                _diagnosis(self._job_state, self.scanner),
                other_version_records=self.stream.other_version,
            ),
            is_strict=is_strict,
            baseline=baseline,
            foreign=self.stream.foreign,
            mismatched=self.stream.mismatched,
            is_program=self._is_program,
            hang=self.hangs.found,
        )

    def show(self, verdicts: list[Verdict]) -> int:
        """Print the verdicts, or that there is none; return the exit status."""
        is_unasked = (
            self._is_program
            and not self.stream.damaged
            and all(map(self._is_empty, verdicts))
        )
        # Programs search for the verdict at the start of a line.
        sys.stdout.write("\n" if self.progress.is_mid_line else "")
        self.progress.is_mid_line = False
        for verdict in verdicts:
            sys.stdout.write(_NO_VERDICT if is_unasked else self._text(verdict))
        sys.stdout.flush()
        return PASS if is_unasked else _status(verdicts)


def _read_files() -> None:
    """Read what a verdict needs while the image is certainly mounted.

    At a job's end Slurm ends the program that mounts it, and no file opens any more.
    """
    from jaxsif.bandwidth import hardware

    versions()
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
    if not job_state.steps and stream.other_version:
        raise CouldNotTell(
            "all records in the input are from an older or newer jax-sif; use the"
            " jax-sif of the job's image: singularity exec $JAX_IMAGE jax-sif verify"
        )
    for histories in job_state.steps.values():
        for history in histories.values():
            if history.started and history.started.topology:
                return parse_topology(history.started.topology)
    if job_state.launched:
        return parse_topology(job_state.launched)
    raise UsageError(
        f"no topology: {TOPOLOGY_VARIABLE} is not set and no record names one; run"
        " jax-sif verify --topology G8N2p4 (8 devices, 2 nodes, 4 processes)"
    )


def _write_json(path: Path, verdicts: list[Verdict]) -> None:
    import msgspec

    from jaxsif.core.verdict_file import SCHEMA, VerdictFile
    from jaxsif.verdict import render

    content = VerdictFile(
        schema=SCHEMA,
        verdicts=tuple(render.step_verdict(v, versions()) for v in verdicts),
    )
    try:
        atomic_write(
            path,
            strict_json.encode(msgspec.to_builtins(content)),
            "the verdict above is valid, only the file is missing",
        )
    except KitError as error:
        print(f"jax-sif: warning: {error}", file=sys.stderr)


def _worst(statuses: list[int]) -> int:
    """A failure outweighs doubt, doubt outweighs a pass."""
    failures = [s for s in statuses if s not in (PASS, COULD_NOT_TELL)]
    return max(failures, default=max(statuses))
