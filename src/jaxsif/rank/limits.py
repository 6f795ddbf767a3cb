"""How long each phase of a rank may take, and how soon a silent peer counts as dead; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jaxsif.core.errors import UsageError
from jaxsif.core.records import PHASES

# JAX_SIF_DEADLINE_S holds for every phase, JAX_SIF_DEADLINE_DEVICES_S for one.
DEADLINE_VARIABLE = "JAX_SIF_DEADLINE_S"
HEARTBEAT_VARIABLE = "JAX_SIF_HEARTBEAT_S"
SWITCH_VARIABLE = "JAX_SIF_WATCHDOG"

# A rank that waits this long says where; while a job is healthy nobody does.
WAITING_S = 3.0
# Then rank 0 compares where everybody is. In a diagnostic all ranks do the same, so one
# that is elsewhere for this long will not come any more.
COMPARING_S = 7.0

# Before a rank has connected it reports so often that it is alive; more ranks, rarer, so
# that there are never more than 500 such records a second.
_REPORTING_S = 2.5
# `import jax` may load libraries from a slow file system, and keeps the GIL meanwhile.
_IMPORTING_S = 60.0

# JAX's coordinator hears from every rank twice in this time; more ranks, more time.
_RANKS_PER_SECOND = 500


@dataclass(frozen=True)
class Limits:
    """In seconds; infinity where there is none."""

    # By the phase that is to be reached.
    deadlines_s: Mapping[str, float]
    heartbeat_s: int
    shutdown_s: int
    # Whether ranks that are at different places are wrong to be so.
    is_lockstep: bool
    is_watched: bool = True
    # Between two reports of a rank that has not connected yet.
    reporting_s: float = _REPORTING_S

    def deadline_s(self, phase: str) -> float:
        """For the phase that is to be reached next."""
        return self.deadlines_s.get(phase, math.inf)

    def may_miss(self) -> tuple[int, int] | None:
        """After how many reports of all others a silent rank counts as dead.

        In general, as long as JAX's heartbeats may stay away, and while it imports JAX;
        None where ranks report nothing.
        """
        if not self.is_watched:
            return None
        importing_s = max(_IMPORTING_S, self.heartbeat_s)
        return self._reports(self.heartbeat_s), self._reports(importing_s)

    def _reports(self, seconds: float) -> int:
        return 1 + math.ceil(seconds / self.reporting_s)


def diagnostic_limits(environment: Mapping[str, str], processes: int) -> Limits:
    """For a program of diag/: every phase takes moments, but for NCCL's start."""
    return _limits(environment, processes, 120.0, 120.0, 5, 10, is_lockstep=True)


def program_limits(environment: Mapping[str, str], processes: int) -> Limits:
    """For a user's program, whose own phases may take any time."""
    return _limits(environment, processes, 300.0, math.inf, 30, 300, is_lockstep=False)


def _limits(
    environment: Mapping[str, str],
    processes: int,
    connect_s: float,
    phase_s: float,
    heartbeat_s: int,
    shutdown_s: int,
    *,
    is_lockstep: bool,
) -> Limits:
    every = _seconds(environment, DEADLINE_VARIABLE)
    deadlines_s = {}
    for phase in PHASES:
        own = _seconds(environment, f"JAX_SIF_DEADLINE_{phase.upper()}_S")
        default = connect_s if phase == "connected" else phase_s
        deadlines_s[phase] = own or every or default
    heartbeat = _seconds(environment, HEARTBEAT_VARIABLE)
    return Limits(
        deadlines_s,
        int(heartbeat or heartbeat_s + processes // _RANKS_PER_SECOND),
        shutdown_s,
        is_lockstep,
        is_watched=environment.get(SWITCH_VARIABLE, "on") != "off",
        reporting_s=_REPORTING_S + processes / _RANKS_PER_SECOND,
    )


def _seconds(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds) or seconds < 1.0:
        raise UsageError(
            f"{name} is {text!r}, expected a number of seconds, at least 1; unset it"
            " for the default"
        )
    return seconds
