"""Faults to inject into a launch, for testing how a program handles them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxsif.core.errors import UsageError

KILL, STALL, SLOW, SKIP = "kill", "stall", "slow", "skip"

DESCRIPTIONS = {
    KILL: "killed by SIGKILL",
    STALL: "stopped by SIGSTOP",
    SLOW: "slowed down to a quarter of its speed",
    SKIP: "never started",
}

# A slow rank alternates between running and being stopped.
SLOW_RUN_S, SLOW_PAUSE_S = 0.05, 0.15


@dataclass(frozen=True)
class Fault:
    """A fault of one rank, `after_s` seconds after all ranks were started."""

    kind: str
    rank: int
    after_s: float = 0.0


def plan(
    ranks: Mapping[str, Sequence[int]], after_s: float | None, processes: int
) -> list[Fault]:
    """The requested faults, by kind. Raises UsageError for impossible ranks."""
    found: dict[int, Fault] = {}
    for kind, numbers in ranks.items():
        for rank in numbers:
            _check(kind, rank, found.get(rank), processes)
            found[rank] = Fault(kind, rank, 0.0 if kind == SKIP else after_s or 0.0)
    if after_s is not None and not any(f.kind != SKIP for f in found.values()):
        raise UsageError(
            "--after needs a fault; add --kill-rank, --stall-rank or --slow-rank"
        )
    return list(found.values())


def _check(kind: str, rank: int, earlier: Fault | None, processes: int) -> None:
    if not 0 <= rank < processes:
        raise UsageError(
            f"--{kind}-rank {rank}: no such rank; the topology has ranks 0 to"
            f" {processes - 1}"
        )
    if earlier is not None and earlier.kind != kind:
        raise UsageError(
            f"rank {rank} cannot have both --{earlier.kind}-rank and --{kind}-rank;"
            " choose one"
        )
