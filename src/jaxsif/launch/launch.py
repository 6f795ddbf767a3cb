"""Runs `jax-sif launch`: options in, exit status out."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import selectors
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxsif.core.errors import KitError
from jaxsif.core.record_lines import KEY_LENGTH, job_keys
from jaxsif.core.topology import Topology
from jaxsif.launch import certificates, messages
from jaxsif.launch.environment import (
    COORDINATOR,
    COORDINATOR_PORT,
    LOOPBACK,
    LocalJob,
    ReservedPort,
    caller_environment,
    choose_devices,
    detect_gpus,
    placements,
    rank_environment,
    require_free_port,
    reserve_port,
)
from jaxsif.launch.faults import Fault
from jaxsif.launch.output import OutputForwarder, label_style
from jaxsif.launch.processes import RankProcess
from jaxsif.launch.supervisor import LaunchLimits, Supervisor

# The entry point of the image as well.
ENTRY = Path(__file__).resolve().parents[1] / "start/entry"

Which = Callable[[str], str | None]


@dataclass(frozen=True)
class LaunchOptions:
    """The command-line options. `is_labelled`: None means on a terminal only."""

    topology: Topology
    program: Sequence[str]
    devices: str
    log_dir: Path | None
    is_labelled: bool | None
    limits: LaunchLimits
    faults: Sequence[Fault]


class ProgramNotFound(KitError):
    """The program does not exist. Has the exit status of a shell."""

    exit_status = 127


def launch(options: LaunchOptions) -> int:
    """Run the program as the ranks of the topology; return the first failure's status.

    Raises UsageError or KitError before any rank has started; later KitError if the
    machine fails (process limit, full disk), after all ranks were ended.
    """
    caller = caller_environment(os.environ)
    args = command(options.program)
    reserved = reserve_port()
    if caller.get(COORDINATOR_PORT) and not caller.get(COORDINATOR):
        require_free_port(caller[COORDINATOR_PORT])
    job = _job(options, caller, reserved)
    warning = ""
    if certificates.is_needed(caller, options.topology.processes):
        reason = certificates.why_none()
        if reason:
            warning = certificates.warning(reason, caller)
        else:
            variables = certificates.make(job.step, LOOPBACK)
            job = replace(job, certificates=variables)
    with reserved.lock, asyncio.Runner(loop_factory=_event_loop) as runner:
        return runner.run(_supervise(options, job, args, caller, warning))


async def _supervise(
    options: LaunchOptions,
    job: LocalJob,
    args: Sequence[str],
    caller: Mapping[str, str],
    warning: str,
) -> int:
    ranks = [RankProcess(place) for place in placements(options.topology)]
    style = label_style(len(ranks), options.is_labelled, os.environ)
    output = OutputForwarder(options.log_dir, style, job.record_key)
    supervisor = Supervisor(ranks, output, options.limits, options.faults)
    first = rank_environment(job, ranks[0].place, caller)
    output.print_message(messages.starting(job, first[COORDINATOR]))
    if warning:
        output.print_message(messages.reason(warning))
    return await supervisor.run(
        args, lambda place: rank_environment(job, place, caller)
    )


def _event_loop() -> asyncio.AbstractEventLoop:
    # Standard output may be a file, which epoll and kqueue do not support.
    return asyncio.SelectorEventLoop(selectors.PollSelector())


def command(args: Sequence[str], which: Which = shutil.which) -> list[str]:
    """The command line of a rank: entry and program. Raises ProgramNotFound.

    Programs ending in .py are run with the Python on PATH, as in the image.
    """
    program = args[0]
    if program.endswith(".py"):
        args = [_python(program, which), *args]
    elif which(program) is None:
        raise ProgramNotFound(
            f"cannot run {program!r}: no such program on PATH, or not executable; for a"
            " Python program: python PROGRAM.py"
        )
    # With an explicit shell, since files of a package may not be executable.
    return ["/bin/sh", str(ENTRY), *args]


def _python(program: str, which: Which) -> str:
    if not Path(program).is_file():
        raise ProgramNotFound(
            f"cannot run {program!r}: no such file in {str(Path.cwd())!r}; a container"
            " sees mounted folders only"
        )
    for name in ("python", "python3"):
        if which(name):
            return name
    raise ProgramNotFound(
        f"cannot run {program!r}: neither python nor python3 is on PATH; activate an"
        " environment, or name an interpreter before the program"
    )


def _job(
    options: LaunchOptions, caller: Mapping[str, str], reserved: ReservedPort
) -> LocalJob:
    """The common properties of all ranks."""
    now_s = time.time()
    return LocalJob(
        topology=options.topology,
        devices=choose_devices(
            options.devices, options.topology, caller, detect_gpus(caller)
        ),
        id=reserved.job_id(now_s),
        port=reserved.number,
        name=Path(options.program[0]).name,
        working_dir=os.getcwd(),
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
