"""What the launcher says of its ranks; pure, on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxsif.launch import faults
from jaxsif.launch.faults import Fault
from jaxsif.launch.plan import Job, Place
from jaxsif.launch.ranks import Rank, ending

_NAME = "jax-sif launch"

_ENDED_BY_LAUNCHER = (-signal.SIGTERM, -signal.SIGKILL, 128 + signal.SIGTERM)


def begins(job: Job, address: str) -> str:
    """The first line: what is started, and what was chosen for which reason."""
    nodes = "node1" if job.topology.nodes == 1 else f"node1 to node{job.topology.nodes}"
    return (
        f"{_NAME}: {job.topology.label} as {nodes} on this machine, on"
        f" {job.devices.kind} devices ({job.devices.reason}), job {job.id}, coordinator"
        f" {address}"
    )


def failure(rank: Rank) -> str:
    """In srun's shape, which `jax-sif verify` and `jax-sif explain` understand."""
    place = rank.place
    words = ending(rank.status or 0)
    return f"{_NAME}: error: {place.node}: task {place.rank}: {words}"


def reason(text: str) -> str:
    """Why a launch ends early, where no rank is the reason."""
    return f"{_NAME}: {text}"


def ends(running: Sequence[Rank], grace_s: float) -> str:
    whom = "1 rank" if len(running) == 1 else f"{len(running)} ranks"
    return f"{_NAME}: ending {whom}, by SIGKILL after {grace_s:g} s"


def injected(rank: Rank, kind: str) -> str:
    return f"{_NAME}: injected: {rank.place} is {faults.DESCRIPTIONS[kind]}"


def too_late(rank: Rank, fault: Fault) -> str:
    return f"{_NAME}: nothing is injected: {rank.place} had ended before"


def is_by_launcher(rank: Rank) -> bool:
    """Whether it ended because the launcher had told it to."""
    return rank.is_told_to_end and rank.status in _ENDED_BY_LAUNCHER


def summary(ranks: Sequence[Rank], log_of: Callable[[Place], Path | None]) -> str:
    """A line per rank: where it was, how it ended, after how long, its log."""
    rows = [("rank", "node", "ended", "after", "log")]
    for rank in ranks:
        place, log = rank.place, log_of(rank.place)
        duration = f"{rank.duration_s:.1f} s" if rank.was_started else "-"
        shown = str(log) if log and rank.was_started else ""
        rows.append((str(place.rank), place.node, _how(rank), duration, shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(map(str.ljust, row, widths)).rstrip()
        for row in (rows if any(row[4] for row in rows[1:]) else _without_logs(rows))
    )


def _without_logs(
    rows: Sequence[tuple[str, str, str, str, str]],
) -> list[tuple[str, str, str, str]]:
    return [row[:4] for row in rows]


def _how(rank: Rank) -> str:
    if not rank.was_started:
        return faults.DESCRIPTIONS[faults.DROP]
    if rank.status is None:
        return "still runs"
    words = ending(rank.status) if rank.status else "well"
    return f"{words}, by the launcher" if is_by_launcher(rank) else words
