"""Runs `jax-sif launch`: options in, exit status out."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxsif.core.records import KEY_LENGTH, job_keys
from jaxsif.core.topology import Topology
from jaxsif.launch import certificates, messages, ports, program
from jaxsif.launch.devices import choose, detect_gpus
from jaxsif.launch.faults import Fault
from jaxsif.launch.loop import Loop
from jaxsif.launch.plan import (
    COORDINATOR,
    COORDINATOR_PORT,
    LOOPBACK,
    LocalJob,
    caller_environment,
    environment,
    placements,
)
from jaxsif.launch.ranks import Rank
from jaxsif.launch.streams import Streams, style
from jaxsif.launch.supervisor import Limits, Supervisor


@dataclass(frozen=True)
class LaunchOptions:
    """The command-line options. `is_labelled`: None means on a terminal only."""

    topology: Topology
    program: Sequence[str]
    devices: str
    log_dir: Path | None
    is_labelled: bool | None
    limits: Limits
    faults: Sequence[Fault]


def launch(options: LaunchOptions) -> int:
    """Run the program as the ranks of the topology; return the first failure's status.

    Raises UsageError or KitError before any rank has started; later KitError if the
    machine fails (process limit, full disk), after all ranks were ended.
    """
    caller = caller_environment(os.environ)
    args = program.command(options.program)
    reserved = ports.reserve_port()
    if caller.get(COORDINATOR_PORT) and not caller.get(COORDINATOR):
        ports.require_free(caller[COORDINATOR_PORT])
    job = _job(options, caller, reserved)
    warning = ""
    if certificates.is_needed(caller, options.topology.processes):
        reason = certificates.why_none()
        if reason:
            warning = certificates.warning(reason, caller)
        else:
            variables = certificates.make(job.step, LOOPBACK)
            job = replace(job, certificates=variables)
    ranks = [Rank(place) for place in placements(options.topology)]
    shown = style(len(ranks), options.is_labelled, os.environ)
    with reserved.lock, Loop() as loop:
        supervisor = Supervisor(
            loop,
            lambda on_gone: Streams(
                loop, options.log_dir, shown, on_gone, job.record_key
            ),
            ranks,
            options.limits,
            options.faults,
        )
        first = environment(job, ranks[0].place, caller)
        supervisor.streams.print_message(messages.starting(job, first[COORDINATOR]))
        if warning:
            supervisor.streams.print_message(messages.reason(warning))
        return supervisor.run(args, lambda place: environment(job, place, caller))


def _job(
    options: LaunchOptions, caller: Mapping[str, str], reserved: ports.ReservedPort
) -> LocalJob:
    """The common properties of all ranks."""
    now_s = time.time()
    machine = detect_gpus(caller)
    return LocalJob(
        topology=options.topology,
        devices=choose(options.devices, options.topology, caller, machine),
        id=reserved.job_id(now_s),
        port=reserved.number,
        name=Path(options.program[0]).name,
        folder=os.getcwd(),
        host=socket.gethostname(),
        user=_user(),
        user_id=os.getuid(),
        group_id=os.getgid(),
        start_time_s=int(now_s),
        cpus=os.cpu_count() or 1,
        record_key=next(iter(job_keys(os.environ)), secrets.token_hex(KEY_LENGTH // 2)),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may have no name for the user.
        return str(os.getuid())
