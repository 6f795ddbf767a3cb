"""A rank's session, and the functions by which a program starts and uses it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from jaxsif.core.errors import (
    Problem,
    UsageError,
    guarded,
    print_to_stderr,
    suppress_errors,
)
from jaxsif.core.records import Record, RequeueRecord, SpeedRecord
from jaxsif.core.slurm_env import KUBERNETES, Identity
from jaxsif.core.topology import TOPOLOGY_VARIABLE
from jaxsif.node import inspect_host, mpi, start_problems
from jaxsif.rank import distributed, launchers, peers, preflight
from jaxsif.rank.distributed import DistributedInfo, distributed_info
from jaxsif.rank.exit_hooks import (
    exit_now,
    fail,
    install_exit_hooks,
    keep_from_children,
    leave_the_end_to_parent,
    report_exit,
)
from jaxsif.rank.launchers.machine import this_machine
from jaxsif.rank.launchers.slurm import as_slurm_env
from jaxsif.rank.reporter import Reporter
from jaxsif.rank.watchdog import Limits, Watchdog, diagnostic_limits, program_limits

# srun ends the step at the first exit; by then the other ranks have found the same.
_FLUSH_DELAY_S = 0.5

PREFLIGHT_VARIABLE = "JAX_SIF_PREFLIGHT"
TLS_VARIABLE = "JAX_SIF_MTLS"

# Characters of the unit of a reported speed.
_MAX_UNIT = 40


class Session:
    """Per-process state of a rank. Created once and never reset."""

    def __init__(self, identity: Identity, limits: Limits, reporter: Reporter) -> None:
        self.identity = identity
        self.limits = limits
        self.reporter = reporter
        self.who = f"rank {identity.rank} on {identity.node}"
        self.is_connected = False
        self._watchdog = Watchdog(
            self._report_from_thread, reporter.stamp, self.who, limits
        )

    def begin(self) -> None:
        """Report that this rank has started, and start its watchdog."""
        self.reporter.phase_observer = self._watchdog.reached
        self.reporter.entry_observer = self._watchdog.entered
        self._watchdog.start()
        keep_from_children(self._leave_to_parent)
        with suppress_errors("the report of the start"):
            self.reporter.started(self.limits.may_miss())

    def connect(self, settings: dict[str, Any]) -> DistributedInfo:
        """Run the preflight checks, join the group, and verify its peers."""
        where = launchers.coordinator(
            os.environ, self.identity, this_machine(), settings
        )
        if where is not None:
            self._require_certificates(settings)
        ordinals = self._select_devices(settings)
        if os.environ.get(PREFLIGHT_VARIABLE, "on") != "off":
            self._abort_with(self._preflight_problems(where, settings))
        with suppress_errors("the search for MPI's wrapper"):
            # jaxlib searches for it only if the variable is set.
            os.environ.update(mpi.jaxlib_variables(inspect_host(os.environ)))
        self.reporter.jax_import_started()
        if where is None:
            self._start_single()
        else:
            bind_address = None
            with suppress_errors("the choice of rank 0's address"):
                bind_address = distributed.address_to_bind(
                    where, self.identity, os.environ, settings
                )
            client = distributed.join(
                self.limits, self.identity, where, ordinals, settings, bind_address
            )
            self._watch_mpi()
            self._verify_peers(client)
        return distributed_info(self.identity, where, os.environ)

    def _require_certificates(self, settings: dict[str, Any]) -> None:
        """Raise UsageError if certificates are required but missing."""
        is_required = os.environ.get(TLS_VARIABLE) == "required"
        given = settings.get("mtls_cert_file") or os.environ.get("JAX_MTLS_CERT_FILE")
        if is_required and not given and self.identity.processes > 1:
            raise UsageError(
                f"{self.who} has no certificate (JAX_MTLS_CERT_FILE is not set), and"
                f" {TLS_VARIABLE}=required; start the program through the image's"
                " entry: srun ... singularity run, not singularity exec"
            )

    def _select_devices(self, settings: dict[str, Any]) -> list[int] | None:
        """Choose this rank's devices, and set the variable that the entry sets."""
        slurm_env = as_slurm_env(os.environ, self.identity)
        ordinals = distributed.local_device_ids(
            os.environ, self.identity, slurm_env, settings
        )
        if ordinals:
            variable = distributed.LOCAL_DEVICES_VARIABLE
            os.environ[variable] = distributed.as_variable(ordinals)
        return ordinals

    def _verify_peers(self, client: Any) -> None:
        self.is_connected = True
        if _sigterm_is_default():
            self._watchdog.exit_on_sigterm()
        if client is None:
            # initialize() was replaced by another one; the counts reveal a wrong group.
            self.reporter.connected()
            return
        identity = self.identity
        self._abort_with(peers.exchange_peer_info(client, identity))
        self._watchdog.post = lambda position: peers.publish_position(
            client, identity.rank, position
        )
        if identity.rank == 0:
            self._watchdog.compare = lambda own: peers.compare_positions(client, own)
        self.reporter.connected(has_proof=True)

    def _start_single(self) -> None:
        """Without a launcher there is no group, and JAX would raise ValueError."""
        self.is_connected = True
        print_to_stderr(f"jax-sif: {self.who}: no launcher, a single process")
        self.reporter.connected()

    def _preflight_problems(
        self, where: tuple[str, int] | None, settings: Mapping[str, Any]
    ) -> Iterator[Problem]:
        identity = self.identity
        is_chosen = launchers.given_address(os.environ, settings) is not None

        def of_the_node() -> Sequence[Problem]:
            host_info = inspect_host(as_slurm_env(os.environ, identity))
            return start_problems(host_info, where[0] if where else None)

        yield from guarded("the checks of the node", of_the_node)
        if where is None or identity.processes == 1:
            return
        if identity.rank == 0:
            yield from guarded(
                "the check of rank 0's address",
                lambda: preflight.check_coordinator_address(where, identity, is_chosen),
            )
            yield from guarded(
                "the check of the coordinator's port",
                lambda: preflight.check_port_free(where),
            )
        else:
            limit_s = self.limits.deadline_s("connected")
            yield from guarded(
                "the check of the connection to the coordinator",
                lambda: preflight.reach_coordinator(
                    where,
                    limit_s,
                    identity.node,
                    distributed.with_arguments(os.environ, settings),
                    has_one_node=identity.local_processes == identity.processes,
                    has_late_names=identity.launcher == KUBERNETES,
                ),
            )

    def _watch_mpi(self) -> None:
        """Compare MPI's world with the group before any sum, if JAX uses MPI."""
        identity = self.identity

        def compare() -> None:
            on_gpu = inspect_host(os.environ).expects_gpus
            found = peers.world_troubles(
                os.environ, identity.processes, computes_on_cpu=not on_gpu
            )
            self._abort_with(found)

        try:
            peers.call_after_start_of_mpi(compare)
        except Exception as error:
            # JAX's private names have changed; relevant only if MPI is used.
            if mpi.is_requested(os.environ):
                self._abort_with([peers.unknown_world(identity.processes, error)])

    def _abort_with(self, found: Iterator[Problem] | Sequence[Problem]) -> None:
        """End the rank at a fatal problem; otherwise print warnings and continue."""
        problems: list[Problem] = []
        for problem in found:
            problems.append(problem)
            # Later checks take longer, and may fail only because of this.
            if problem.is_fatal:
                break
        if not problems:
            return
        is_over = self.limits.is_lockstep or problems[-1].is_fatal
        for problem in problems:
            sign = "" if is_over else "warning: "
            text = f"jax-sif: {self.who}: {sign}{problem.text}; {problem.remedy}"
            print_to_stderr(text)
        if is_over:
            self.reporter.start_failed(problems)
            time.sleep(_FLUSH_DELAY_S)
            exit_now(1)
        self.reporter.warn(problems)

    def _report_from_thread(self, record: Record) -> None:
        self.reporter.write(record, is_flushed=False)

    def _leave_to_parent(self) -> None:
        """Called in a forked child, which is not a rank."""
        leave_the_end_to_parent()
        distributed.leave_group_to_parent()
        self.reporter.leave_to_parent()


def _sigterm_is_default() -> bool:
    """Whether neither the program nor JAX's preemption sync handles SIGTERM."""
    preemption_sync = os.environ.get("JAX_ENABLE_PREEMPTION_SERVICE", "").lower()
    handler = signal.getsignal(signal.SIGTERM)
    return preemption_sync not in ("1", "true") and handler in (None, signal.SIG_DFL)


_session: Session | None = None


def current() -> Session | None:
    """This process's session, once it has started."""
    return _session


def _begin(settings: dict[str, Any], *, is_diagnostic: bool) -> Session:
    global _session
    if _session is None:
        identity = launchers.identify(os.environ, this_machine(), settings)
        limits = diagnostic_limits if is_diagnostic else program_limits
        # Records are read in a diagnostic, and in a job with jax-sif verify.
        is_enabled = is_diagnostic or bool(os.environ.get(TOPOLOGY_VARIABLE))
        reporter = Reporter(identity, is_enabled=is_enabled)
        _session = Session(identity, limits(os.environ, identity.processes), reporter)
        if is_diagnostic:
            reporter.enable_nccl_log()
        _session.begin()
    return _session


@contextlib.contextmanager
def phase_reporter() -> Iterator[Reporter]:
    """Report the program inside the `with` block, from its start to its end.

    An exception is printed and recorded, and ends the process at once: JAX would wait
    300 s for the other ranks at its shutdown barrier. Wrong results end it with status
    1, after all ranks have reported theirs.
    """
    session = _begin({}, is_diagnostic=True)
    good_exit: SystemExit | None = None
    try:
        yield session.reporter
    except BaseException as error:
        # A forked child is not a rank.
        if not session.reporter.is_of_this_process:
            raise
        if not (isinstance(error, SystemExit) and error.code in (None, 0)):
            fail(session.reporter, error, partial(traceback.print_exception, error))
        good_exit = error
    session.reporter.done()
    if session.reporter.has_wrong_results and session.reporter.is_of_this_process:
        _verify_all_finished()
        exit_now(1)
    if good_exit is not None:
        raise good_exit


def initialize_distributed(**settings: Any) -> DistributedInfo:
    """Join this process to its group, like `jax.distributed.initialize()`, with checks.

    First checks the node and the connection to the coordinator, and verifies that the
    peers belong to this job step. From then on it ends the process soon, with the
    cause, where JAX would wait for minutes or forever: at an exception, a dead or
    silent peer, a SIGTERM. Call it before any other JAX function.

    Rank and coordinator come from the launcher: Slurm, Open MPI, PMIx or PMI,
    Kubernetes or `jax-sif launch`; without a launcher the process is the only one.
    JAX_COORDINATOR_ADDRESS, JAX_COORDINATOR_PORT and JAX_LOCAL_DEVICE_IDS override it.

    Args:
      **settings: arguments of `jax.distributed.initialize()`, which override
        everything.

    Returns information about this process and its group; reading device counts from it
    starts JAX's back end.

    Raises RuntimeError if JAX has been used before or the group exists already, and
    UsageError, with a remedy, if the launcher does not provide what is needed. Ends the
    process with status 1 if the group cannot be formed.
    """
    is_bare = _session is None
    session = _begin(settings, is_diagnostic=False)
    if session.is_connected:
        raise RuntimeError("initialize_distributed() should only be called once")
    if is_bare:
        install_exit_hooks(session.reporter)
    found = session.connect(settings)
    if is_bare:
        # After JAX is loaded: the last registered function runs first.
        atexit.register(report_exit, session.reporter)
    return found


def _verify_all_finished() -> None:
    """Wait for all ranks, so that `srun` ends none before its last record."""
    import jax

    jax.distributed.shutdown()


def report_speed(items: float, seconds: float, unit: str = "steps") -> None:
    """Report the work of the whole job and its time, for `jax-sif scale`.

    Every process may call it; only rank 0's report counts, and only the last one.
    Without `jax-sif verify` beside the job nothing is written. Exclude the first step,
    which compiles.

    Args:
      items: what all processes have done together: number of steps, samples, tokens.
      seconds: how long that took.
      unit: what was counted, in the plural.

    Raises UsageError for invalid numbers, and if there is no group yet.
    """
    for name, value in (("items", items), ("seconds", seconds)):
        if not math.isfinite(value) or value <= 0:
            raise UsageError(
                f"report_speed() got {name}={value!r}, expected a number above 0"
            )
    reporter = _reporter_of_rank_0()
    if reporter is not None:
        reporter.write(
            SpeedRecord(
                **reporter.stamp(),
                items=float(items),
                seconds=float(seconds),
                unit=unit[:_MAX_UNIT],
            )
        )


def report_progress(done: int) -> None:
    """Report how many steps are done; call it once before the first step.

    Every process may call it after each step; only rank 0's report counts, and of many
    reports within half a second the last. With it, a job that is started again knows
    whether the training gets further, and how long a start takes.

    Args:
      done: steps done so far, those before a restart included.

    Raises UsageError for a number below 0, and if there is no group yet.
    """
    if isinstance(done, bool) or int(done) != done or done < 0:
        raise UsageError(
            f"report_progress() got done={done!r}, expected a whole number, 0 or more"
        )
    reporter = _reporter_of_rank_0()
    if reporter is not None:
        reporter.progress(int(done))


def request_requeue() -> None:
    """Request that the job be requeued when the program has succeeded.

    For a program that was notified of its time limit and has saved its state. The job
    must come from `jax-sif job --requeue`, whose script passes the request to Slurm.
    The next run has the same job id, and SLURM_RESTART_COUNT is one higher.

    Raises UsageError if there is no group yet.
    """
    reporter = _reporter_of_rank_0()
    if reporter is not None:
        reporter.write(RequeueRecord(**reporter.stamp()))


def _reporter_of_rank_0() -> Reporter | None:
    """Its reporter; None in other ranks. Raises UsageError without a group."""
    session = current()
    if session is None:
        raise UsageError(
            "this process is not a rank yet; call jaxsif.initialize_distributed() first"
        )
    return session.reporter if session.identity.rank == 0 else None
