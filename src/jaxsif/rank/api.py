"""Functions for user programs: report the speed, request a requeue."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

from jaxsif.core.errors import UsageError
from jaxsif.core.records import RequeueRecord, SpeedRecord
from jaxsif.rank import session
from jaxsif.rank.reporter import Reporter

_MAX_UNIT = 40


def report_speed(items: float, seconds: float, unit: str = "steps") -> None:
    """Report the work of the whole job and its time, for `jax-sif scale`.

    Every process may call it; only rank 0's report counts, and only the last one. Without
    `jax-sif verify` beside the job nothing is written. Exclude the first step, which
    compiles.

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


def request_requeue() -> None:
    """Request that the job be requeued when the program has succeeded.

    For a program that was notified of its time limit and has saved its state. The job
    must come from `jax-sif job --requeue`, whose script passes the request to Slurm. The
    next run has the same job id, and SLURM_RESTART_COUNT is one higher.

    Raises UsageError if there is no group yet.
    """
    reporter = _reporter_of_rank_0()
    if reporter is not None:
        reporter.write(RequeueRecord(**reporter.stamp()))


def _reporter_of_rank_0() -> Reporter | None:
    """Its reporter; None in other ranks. Raises UsageError without a group."""
    current = session.current()
    if current is None:
        raise UsageError(
            "this process is not a rank yet; call jaxsif.initialize_distributed() first"
        )
    return current.reporter if current.identity.rank == 0 else None
