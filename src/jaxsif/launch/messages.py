"""The messages of the launcher."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxsif.core.text import format_table, plural
from jaxsif.launch import faults
from jaxsif.launch.environment import LocalJob, RankPlacement
from jaxsif.launch.faults import Fault
from jaxsif.launch.processes import RankProcess, describe_exit

_NAME = "jax-sif launch"

_ENDED_BY_LAUNCHER = (-signal.SIGTERM, -signal.SIGKILL, 128 + signal.SIGTERM)


def starting(job: LocalJob, address: str) -> str:
    """The first line: what is started, and the chosen devices with their reason."""
    nodes = "node1" if job.topology.nodes == 1 else f"node1 to node{job.topology.nodes}"
    return (
        f"{_NAME}: {job.topology.label} as {nodes} on this machine, on"
        f" {job.devices.kind} devices ({job.devices.reason}), job {job.id}, coordinator"
        f" {address}"
    )


def failure(rank: RankProcess) -> str:
    """In srun's format, which `jax-sif verify` and `jax-sif explain` read."""
    reason = describe_exit(rank.status or 0)
    return f"{_NAME}: error: {rank.place.node}: task {rank.place.rank}: {reason}"


def reason(text: str) -> str:
    """Why a launch ends early, if no rank caused it."""
    return f"{_NAME}: {text}"


def terminating(running: Sequence[RankProcess], grace_s: float) -> str:
    count = plural(len(running), "rank")
    return f"{_NAME}: ending {count}, with SIGKILL after {grace_s:g} s"


def injected(rank: RankProcess, kind: str) -> str:
    return f"{_NAME}: injected: {rank.place} is {faults.DESCRIPTIONS[kind]}"


def fault_not_injected(rank: RankProcess, fault: Fault) -> str:
    return f"{_NAME}: not injected: {rank.place} has ended already"


def was_terminated_by_launcher(rank: RankProcess) -> bool:
    """Whether it ended because of the launcher's signal."""
    return rank.is_terminating and rank.status in _ENDED_BY_LAUNCHER


def summary(
    ranks: Sequence[RankProcess], log_of: Callable[[RankPlacement], Path | None]
) -> str:
    """A table with a row per rank: node, exit, duration, and log if there are logs."""
    rows = [("rank", "node", "ended", "after", "log")]
    for rank in ranks:
        place, log = rank.place, log_of(rank.place)
        duration = f"{rank.duration_s:.1f} s" if rank.was_started else "-"
        path = str(log) if log and rank.was_started else ""
        rows.append((str(place.rank), place.node, _exit_reason(rank), duration, path))
    has_logs = any(row[4] for row in rows[1:])
    return "\n".join(format_table([row if has_logs else row[:4] for row in rows]))


def _exit_reason(rank: RankProcess) -> str:
    if not rank.was_started:
        return faults.DESCRIPTIONS[faults.SKIP]
    if rank.status is None:
        return "still running"
    reason = describe_exit(rank.status) if rank.status else "success"
    is_launcher = was_terminated_by_launcher(rank)
    return f"{reason}, by the launcher" if is_launcher else reason
