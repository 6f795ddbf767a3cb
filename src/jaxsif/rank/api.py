"""What a program says of itself beyond the phases: how fast it was, and that it wants to go on; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from typing import Any

from jaxsif.core import records
from jaxsif.core.errors import UsageError
from jaxsif.rank import session

_MAX_UNIT = 40


def report_speed(items: float, seconds: float, unit: str = "steps") -> None:
    """Tells how much the whole job has done, and in what time, for `jax-sif scale`.

    May be called by every process; the first one's word counts, and without
    `jax-sif verify` beside the job nothing is written. Leave out what is not your work:
    the first step compiles. Called again, the last word counts.

    Args:
      items: how many things all processes have done together: steps, samples, tokens.
      seconds: how long that took.
      unit: what was counted, in the plural.

    Raises UsageError for numbers that are no speed, and when there is no group yet.
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
    """Asks that the job be put into the queue again when the program has ended well.

    For a program that was told that its time is up and has saved its state. The job must
    come from `jax-sif job --requeue`: its script hands the wish to Slurm. The next run
    has the same job id, and SLURM_RESTART_COUNT one higher.

    Raises UsageError when there is no group yet.
    """
    _emit(records.REQUEUE_REQUEST)


def _emit(phase: str, **facts: Any) -> None:
    current = session.current()
    if current is None:
        raise UsageError(
            "the program has not begun as a rank; call jaxsif.initialize_distributed()"
            " first"
        )
    if current.identity.rank == 0:
        current.reporter.write(phase, **facts)
