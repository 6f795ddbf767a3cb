"""Faults that a user asks for, to see what a program does about them; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxsif.core.errors import UsageError

KILL, STALL, SLOW, DROP = "kill", "stall", "slow", "drop"

DESCRIPTIONS = {
    KILL: "killed by SIGKILL",
    STALL: "stopped by SIGSTOP, for good",
    SLOW: "slowed down to a quarter of its speed",
    DROP: "never started",
}

# A slow rank runs for the one and is stopped for the other, again and again.
SLOW_RUNS_S, SLOW_STOPS_S = 0.05, 0.15


@dataclass(frozen=True)
class Fault:
    """What is done to one rank, this long after all ranks were started."""

    kind: str
    rank: int
    after_s: float = 0.0


def plan(
    ranks: Mapping[str, Sequence[int]], after_s: float | None, processes: int
) -> list[Fault]:
    """The faults asked for, by kind. Raises UsageError for ranks that cannot be meant."""
    found: dict[int, Fault] = {}
    for kind, numbers in ranks.items():
        for rank in numbers:
            _refuse(kind, rank, found.get(rank), processes)
            found[rank] = Fault(kind, rank, 0.0 if kind == DROP else after_s or 0.0)
    if after_s is not None and not any(f.kind != DROP for f in found.values()):
        raise UsageError(
            "--after says when, but not what; name a rank with --kill-rank, --stall-rank"
            " or --slow-rank"
        )
    return list(found.values())


def _refuse(kind: str, rank: int, earlier: Fault | None, processes: int) -> None:
    if not 0 <= rank < processes:
        raise UsageError(
            f"--{kind}-rank {rank}: there is no such rank; the topology has 0 to"
            f" {processes - 1}"
        )
    if earlier is not None and earlier.kind != kind:
        raise UsageError(
            f"rank {rank} cannot have both --{earlier.kind}-rank and --{kind}-rank;"
            " choose one"
        )
