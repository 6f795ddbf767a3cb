"""Write this rank's records to its original standard output, phase by phase."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxsif.core import image, record_lines
from jaxsif.core.errors import Problem, print_to_stderr, suppress_errors
from jaxsif.core.image import NETWORK_VARIABLE, PLATFORM_VARIABLE
from jaxsif.core.records import (
    PHASES,
    AllReduceRecord,
    ConnectedRecord,
    DevicesRecord,
    DoneRecord,
    FailedRecord,
    IdentityRecord,
    ImportingRecord,
    LocalDevice,
    ProgressRecord,
    Record,
    ReportedProblem,
    Stamp,
    StartedRecord,
    WarningsRecord,
)
from jaxsif.core.slurm_env import Identity
from jaxsif.core.topology import TOPOLOGY_VARIABLE
from jaxsif.rank import peers

if TYPE_CHECKING:
    from jaxsif.transport.detect import NcclLog


def _no_fault(reporter: Reporter, point: str) -> None:
    """Do nothing."""


# Called in each rank with `after PHASE` when that record is written, and with `before
# COLLECTIVE` at a collective. Tests inject faults here, see docs/contributing.md.
fault_hook: Callable[[Reporter, str], object] = _no_fault

# Of an exception's text; a record shows less of it.
_MAX_TEXT = 10_000
# A program may report each of thousands of steps a second.
_PROGRESS_INTERVAL_S = 0.5

# Written by the image's entry: seconds since the machine booted.
ENTERED_VARIABLE = "JAX_SIF_ENTRY_START"

_STAT = Path("/proc/self/stat")
# Field 22 of proc(5), counted from the one behind the program's name.
_START_TICKS = 19

# Timeout for a full, non-blocking output.
_DRAINING_S = 2.0


class Reporter:
    """Writes this rank's records: one method per phase."""

    def __init__(self, identity: Identity, *, is_enabled: bool = True) -> None:
        """`is_enabled`: whether records are read; otherwise nothing is written."""
        self.identity = identity
        self.has_wrong_results = False
        self._is_enabled = is_enabled
        self._key = record_lines.rank_key(os.environ)
        self._process = os.getpid()
        self._output = standard_output()
        self._has_complained = False
        # NCCL's log, if enabled.
        self._nccl_log: NcclLog | None = None
        # When preflight was done, and when JAX was loaded.
        self._import_s: tuple[float | None, float | None] = None, None
        # Steps done in the first report and its time; the last report, if not yet
        # written.
        self._first_progress: tuple[int, float] | None = None
        self._unwritten_progress: ProgressRecord | None = None
        self._next_progress_s = 0.0
        # Called at each phase, with the next one, and before each collective.
        self.phase_observer: Callable[[str, str], None] = lambda phase, following: None
        self.entry_observer: Callable[[str], None] = lambda collective: None

    @property
    def is_of_this_process(self) -> bool:
        """False in a forked child, which is not a rank."""
        return os.getpid() == self._process

    def stamp(self) -> Stamp:
        """The fields that every record of this rank has, as of now."""
        return {
            "rank": self.identity.rank,
            "step": self.identity.step,
            "node": self.identity.node,
            "time": round(time.time(), 3),
        }

    def emit(self, record: Record) -> None:
        """Write one record in one piece, after everything printed so far."""
        self.write(record)
        if record.phase in PHASES and self.is_of_this_process:
            following = PHASES.index(record.phase) + 1
            self.phase_observer(record.phase, (*PHASES, "end")[following])
            fault_hook(self, f"after {record.phase}")

    def write(self, record: Record, *, is_flushed: bool = True) -> None:
        """Write only the record. `is_flushed=False`: from a thread that must not wait.

        Never raises: a failed write must not end a program. A forked child writes
        nothing.
        """
        if not self._is_enabled or not self.is_of_this_process:
            return
        try:
            line = record_lines.encode(record, self._key)
            if is_flushed:
                flush_stdout()
            self._output.write(line.encode())
        except Exception as error:
            self._complain(record.phase, error)

    def _complain(self, phase: str, error: Exception) -> None:
        """Explain once why the verdict lacks a record of this rank."""
        if not self._has_complained:
            self._has_complained = True
            who = f"rank {self.identity.rank} on {self.identity.node}"
            text = f"jax-sif: {who}: the record {phase!r} cannot be written: {error!r}"
            print_to_stderr(text)

    def leave_to_parent(self) -> None:
        """For a forked child: leave the output to its parent."""
        self._output.release()

    def started(self, may_miss: Sequence[int] | None = None) -> None:
        """Report this rank's identity and the request.

        `may_miss`: see `Limits.may_miss`; used by `verify` to compare the ranks.
        """
        process_start_s = start_of_process_s()
        self.emit(
            StartedRecord(
                **self.stamp(),
                processes=self.identity.processes,
                local_rank=self.identity.local_rank,
                nodes=self.identity.node_list,
                topology=os.environ.get(TOPOLOGY_VARIABLE),
                platform=os.environ.get(PLATFORM_VARIABLE, "gpu"),
                network=os.environ.get(NETWORK_VARIABLE),
                image=image.fingerprint(),
                packages=image.fingerprint(image.PACKAGES_DESCRIPTION),
                program=peers.program_fingerprint(),
                may_miss=None if may_miss is None else list(may_miss),
                process_start=process_start_s,
                entry_start=start_of_entry_s(os.environ, process_start_s),
            )
        )

    def jax_import_started(self) -> None:
        """Import JAX, and note its time for the next record."""
        began_s = round(time.time(), 3)
        self.write(ImportingRecord(**self.stamp(), is_over=False))
        import jax  # noqa: F401  (the time of the import counts)

        self.write(ImportingRecord(**self.stamp(), is_over=True))
        self._import_s = began_s, round(time.time(), 3)

    def connected(self, *, has_proof: bool = False) -> None:
        """Report this rank's group, after `jax.distributed.initialize()`.

        `has_proof`: whether the ranks have verified each other's step.
        """
        import jax
        import jaxlib

        # Not jax.process_index(), which starts the back end: the program may still
        # choose its devices. There is no public way to it (JAX 0.12).
        from jax._src.distributed import global_state

        self.emit(
            ConnectedRecord(
                **self.stamp(),
                process_index=global_state.process_id,
                process_count=global_state.num_processes,
                jax=jax.__version__,
                jaxlib=jaxlib.version.__version__,
                peers_verified=has_proof,
                preflight_done=self._import_s[0],
                jax_imported=self._import_s[1],
            )
        )

    def devices(self) -> None:
        """Report this rank's devices, and the number of the group's."""
        self.enters("devices")
        import jax

        from jaxsif.rank import devices

        self.emit(
            DevicesRecord(
                **self.stamp(),
                backend=jax.default_backend(),
                local_devices=[
                    LocalDevice(device.id, device.device_kind, uuid)
                    for device, uuid in devices.with_uuids(
                        self.identity.node, os.environ
                    )
                ],
                # A long list does not fit a record.
                local_count=jax.local_device_count(),
                total=jax.device_count(),
                nccl=devices.nccl_version(),
            )
        )

    def enters(self, collective: str) -> None:
        """Inform the watchdog that this rank is about to wait for the others."""
        fault_hook(self, f"before {collective}")
        self.entry_observer(collective)

    def report_allreduce(self, result: Any) -> None:
        """Report this rank's sum of ones: one element per local device."""
        import jax
        import numpy as np

        values = np.concatenate(
            [np.ravel(shard.data) for shard in result.addressable_shards]
        )
        wrong = values != jax.device_count()
        self.has_wrong_results |= bool(wrong.any())
        self.emit(
            AllReduceRecord(
                **self.stamp(),
                sum=float(values[wrong.argmax()]),
                wrong_elements=int(wrong.sum()),
                expected=jax.device_count(),
            )
        )

    def prove_identity(self) -> None:
        """All-reduce tokens that only this run's ranks have; report foreign ones."""
        from jaxsif.rank import identity_check

        self.enters("identity")
        foreign = identity_check.foreign_slots(self.identity)
        self.has_wrong_results |= bool(foreign)
        self.emit(
            IdentityRecord(
                **self.stamp(),
                foreign_count=len(foreign),
                foreign_slots=[list(slot) for slot in foreign[:8]],
            )
        )

    def enable_nccl_log(self) -> None:
        """Let NCCL log its transports; call before any other JAX function."""
        from jaxsif.transport import detect as transport

        if transport.expects_gpus(os.environ):
            self._nccl_log = transport.enable_nccl_log(
                os.environ, self.identity.node, os.getpid()
            )

    def transport(self) -> None:
        """Report the network used by the ranks, after a collective of all.

        Only the first rank of each node reports, so that nodes are comparable: only
        some ranks have a channel to another node.
        """
        if self.identity.local_rank:
            return
        from jaxsif.transport import detect as transport

        found = transport.detect_transport(self.identity, self._nccl_log)
        if found is not None:
            self.emit(transport.record(self.stamp(), found))

    def warn(self, problems: Sequence[Problem]) -> None:
        """Report problems that do not end the program."""
        self.emit(WarningsRecord(**self.stamp(), problems=_reported(problems)))

    def progress(self, done: int) -> None:
        """Report how many steps are done, at once or with the next report."""
        now_s = time.monotonic()
        if self._first_progress is None:
            self._first_progress = done, round(time.time(), 3)
        first_done, first_time = self._first_progress
        self._unwritten_progress = ProgressRecord(
            **self.stamp(), done=done, first_done=first_done, first_time=first_time
        )
        if now_s >= self._next_progress_s:
            self._next_progress_s = now_s + _PROGRESS_INTERVAL_S
            self._write_progress()

    def _write_progress(self) -> None:
        if self._unwritten_progress is not None:
            self.write(self._unwritten_progress)
            self._unwritten_progress = None

    def failed(self, error: BaseException) -> None:
        """Report the exception that ended the program.

        Prints NCCL's warnings, which otherwise stay in its log.
        """
        self._write_progress()
        # Only the first line; JAX adds notes unrelated to this error.
        with suppress_errors("NCCL's report"):
            for warning in self._nccl_log.warnings() if self._nccl_log else ():
                print(warning, file=sys.stderr)
        text = "".join(traceback.format_exception_only(error)).strip().partition("\n")
        error_line = text[0][:_MAX_TEXT]
        self.emit(FailedRecord(**self.stamp(), error=error_line, problems=[]))

    def start_failed(self, problems: Sequence[Problem]) -> None:
        """Report why the program cannot run here."""
        found = _reported(problems)
        self.emit(FailedRecord(**self.stamp(), error=None, problems=found))

    def done(self) -> None:
        """Report that the program ended successfully."""
        self._write_progress()
        self.emit(DoneRecord(**self.stamp()))


def _reported(problems: Sequence[Problem]) -> list[ReportedProblem]:
    return [
        ReportedProblem(problem.kind, problem.text, problem.remedy, list(problem.ranks))
        for problem in problems
    ]


def start_of_process_s(stat: Path = _STAT) -> float | None:
    """Start of this process, in seconds since 1970; None if unknown.

    A program started by `exec` keeps its process: this is before the entry.
    """
    try:
        # The name may hold blanks and parentheses.
        fields = stat.read_text().rpartition(")")[2].split()
        ticks = int(fields[_START_TICKS])
        return _since_1970(ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def start_of_entry_s(
    environment: Mapping[str, str], began: float | None
) -> float | None:
    """Start of the image's entry in this process; None without one.

    A time before the process start is from another entry, whose variable was inherited.
    """
    try:
        entered = _since_1970(float(environment[ENTERED_VARIABLE]))
    except (KeyError, ValueError, OSError, AttributeError):
        return None
    # Both are whole hundredths of a second.
    return None if began is not None and entered < began - 0.02 else entered


def _since_1970(uptime_s: float) -> float:
    passed_s = time.clock_gettime(time.CLOCK_BOOTTIME) - uptime_s
    return round(time.time() - passed_s, 3)


class RecordOutput:
    """The process's current standard output, kept even if the program replaces it.

    A program may redirect descriptor 1, or close it and open a file that gets the same
    number: records belong in the job's output, never in such a file.
    """

    def __init__(self, descriptor: int | None) -> None:
        """`descriptor`: None if the process started without a standard output."""
        self._descriptors = [] if descriptor is None else [descriptor]
        self._file = None if descriptor is None else _file_behind(descriptor)
        if descriptor is not None and self._file is not None:
            # Closed by exec, so that no other program holds the job's output open. If
            # no descriptor is free, only the program's own is used.
            with contextlib.suppress(OSError):
                self._descriptors.insert(0, os.dup(descriptor))

    def write(self, line: bytes) -> None:
        """Write all of `line`. Raises OSError if that fails."""
        for descriptor in self._descriptors:
            if self._file is not None and _file_behind(descriptor) == self._file:
                with _without_sigpipe():
                    _write_whole(descriptor, line)
                return
        raise OSError("the program has closed its standard output")

    def release(self) -> None:
        """For a forked child: close the output, so that its reader sees the end."""
        own, self._descriptors = self._descriptors[:-1], self._descriptors[-1:]
        for descriptor in own:
            if _file_behind(descriptor) == self._file:
                os.close(descriptor)


def standard_output() -> RecordOutput:
    """This process's output; none if descriptor 1 was closed at the start."""
    try:
        return RecordOutput(sys.__stdout__.fileno() if sys.__stdout__ else None)
    # The program has closed it, and the number may be another file's.
    except (OSError, ValueError):
        return RecordOutput(None)


def flush_stdout() -> None:
    """Flush the program's output first; it may have replaced the stream."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()


def _file_behind(descriptor: int) -> tuple[int, int] | None:
    """The file behind a descriptor; None if it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write_whole(descriptor: int, line: bytes) -> None:
    deadline_s = time.monotonic() + _DRAINING_S
    while line:
        try:
            line = line[os.write(descriptor, line) :]
        except BlockingIOError:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            # A pipe with a little room is not ready for a whole record.
            if poll.poll(1000 * left_s):
                time.sleep(0.01)


@contextlib.contextmanager
def _without_sigpipe() -> Iterator[None]:
    """Keep SIGPIPE of a closed reader from ending a program."""
    # Not on every system.
    if not hasattr(signal, "sigtimedwait"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    finally:
        if signal.SIGPIPE not in before:
            signal.sigtimedwait({signal.SIGPIPE}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
