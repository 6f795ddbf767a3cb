"""Functions for user programs: report the speed, request a requeue."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from typing import Any

from jaxsif.core import records
from jaxsif.core.errors import UsageError
from jaxsif.rank import session

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
    _emit(
        "speed",
        items=float(items),
        seconds=round(float(seconds), 6),
        unit=unit[:_MAX_UNIT],
    )


def request_requeue() -> None:
    """Request that the job be requeued when the program has succeeded.

    For a program that was notified of its time limit and has saved its state. The job
    must come from `jax-sif job --requeue`, whose script passes the request to Slurm. The
    next run has the same job id, and SLURM_RESTART_COUNT is one higher.

    Raises UsageError if there is no group yet.
    """
    _emit(records.REQUEUE_REQUEST)


def _emit(phase: str, **facts: Any) -> None:
    current = session.current()
    if current is None:
        raise UsageError(
            "this process is not a rank yet; call jaxsif.initialize_distributed() first"
        )
    if current.identity.rank == 0:
        current.reporter.write(phase, **facts)
