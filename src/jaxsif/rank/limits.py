"""Time limits of a rank's phases, and of silent peers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jaxsif.core.errors import UsageError
from jaxsif.core.records import PHASES

# JAX_SIF_DEADLINE_S applies to every phase, JAX_SIF_DEADLINE_DEVICES_S to one.
DEADLINE_VARIABLE = "JAX_SIF_DEADLINE_S"
HEARTBEAT_VARIABLE = "JAX_SIF_HEARTBEAT_S"
SWITCH_VARIABLE = "JAX_SIF_WATCHDOG"

# A rank that waits this long reports its position; in a healthy job none does.
WAITING_S = 3.0
# Then rank 0 compares all positions. In a diagnostic all ranks do the same, so one that
# is elsewhere for this long will not arrive.
COMPARING_S = 7.0

# Interval of a rank's reports until it has connected; longer with more ranks, so that
# there are at most 500 such records per second.
_REPORTING_S = 1.25
# `import jax` may load libraries from a slow file system, and holds the GIL meanwhile.
_IMPORTING_S = 60.0

# JAX's coordinator gets two heartbeats of every rank in its timeout; more ranks need
# more time.
_RANKS_PER_SECOND = 500


@dataclass(frozen=True)
class Limits:
    """In seconds; infinity if there is no limit."""

    # By the phase to be reached.
    deadlines_s: Mapping[str, float]
    heartbeat_s: int
    shutdown_s: int
    # Whether ranks at different positions are an error.
    is_lockstep: bool
    is_watched: bool = True
    # Interval between reports of a rank that has not connected yet.
    reporting_s: float = _REPORTING_S

    def deadline_s(self, phase: str) -> float:
        """The limit for the phase to be reached next."""
        return self.deadlines_s.get(phase, math.inf)

    def may_miss(self) -> tuple[int, int] | None:
        """Number of reports of all others after which a silent rank counts as dead.

        In general, corresponding to JAX's heartbeat timeout, and while importing JAX; None
        if ranks do not report.
        """
        if not self.is_watched:
            return None
        importing_s = max(_IMPORTING_S, self.heartbeat_s)
        return self._reports(self.heartbeat_s), self._reports(importing_s)

    def _reports(self, seconds: float) -> int:
        return 1 + math.ceil(seconds / self.reporting_s)


def diagnostic_limits(environment: Mapping[str, str], processes: int) -> Limits:
    """Limits for a program in diag/: every phase is short, except NCCL's start."""
    return _limits(environment, processes, 120.0, 120.0, 5, 10, is_lockstep=True)


def program_limits(environment: Mapping[str, str], processes: int) -> Limits:
    """Limits for a user's program, whose own phases may take any time."""
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
