"""`jax-sif launch`: from what was asked for to the exit status; runs on a laptop, or in the container."""
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
    Job,
    environment,
    places,
    users_environment,
)
from jaxsif.launch.ranks import Rank
from jaxsif.launch.streams import Streams, style
from jaxsif.launch.supervisor import Limits, Supervisor


@dataclass(frozen=True)
class Request:
    """What a person asked for. `is_labelled`: None leaves it to the terminal."""

    topology: Topology
    program: Sequence[str]
    devices: str
    logs: Path | None
    is_labelled: bool | None
    limits: Limits
    faults: Sequence[Fault]


def launch(request: Request) -> int:
    """Runs the program as the topology's ranks; returns the first failure's status, or 0.

    Raises UsageError or KitError before any rank has started, KitError also when the
    machine fails (no more processes, a full disk), and then no rank is left.
    """
    users = users_environment(os.environ)
    words = program.command(request.program)
    held = ports.reserve_port()
    if users.get(COORDINATOR_PORT) and not users.get(COORDINATOR):
        ports.refuse_taken(users[COORDINATOR_PORT])
    job = _job(request, users, held)
    warning = ""
    if certificates.is_asked_for(users, request.topology.processes):
        reason = certificates.why_none()
        if reason:
            warning = certificates.announcement(reason, users)
        else:
            made = certificates.make(job.step, LOOPBACK)
            job = replace(job, certificates=made)
    ranks = [Rank(place) for place in places(request.topology)]
    shown = style(len(ranks), request.is_labelled, os.environ)
    with held.ticket, Loop() as loop:
        supervisor = Supervisor(
            loop,
            lambda on_gone: Streams(loop, request.logs, shown, on_gone, job.record_key),
            ranks,
            request.limits,
            request.faults,
        )
        first = environment(job, ranks[0].place, users)
        supervisor.streams.say(messages.begins(job, first[COORDINATOR]))
        if warning:
            supervisor.streams.say(messages.reason(warning))
        return supervisor.run(words, lambda place: environment(job, place, users))


def _job(request: Request, users: Mapping[str, str], held: ports.ReservedPort) -> Job:
    """What all ranks have in common, as far as the machine tells it."""
    now_s = time.time()
    machine = detect_gpus(users)
    return Job(
        topology=request.topology,
        devices=choose(request.devices, request.topology, users, machine),
        id=held.job_id(now_s),
        port=held.number,
        name=Path(request.program[0]).name,
        folder=os.getcwd(),
        host=socket.gethostname(),
        user=_user(),
        user_id=os.getuid(),
        group_id=os.getgid(),
        started_s=int(now_s),
        cpus=os.cpu_count() or 1,
        record_key=next(iter(job_keys(os.environ)), secrets.token_hex(KEY_LENGTH // 2)),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may have no name for the user.
        return str(os.getuid())
