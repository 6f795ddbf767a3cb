"""Runs the doctor's checks, none of which can keep it waiting; on a node, in or out of a job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from jaxsif.core.problem import Trouble
from jaxsif.node.host_info import Surroundings
from jaxsif.node.isolate import Died, NotChecked, TooLate, within
from jaxsif.node.nvml import Reading
from jaxsif.node.report import NOT_CHECKED, OK, TROUBLE, Result


@dataclass(frozen=True)
class Patient:
    """The node, and what the checks have learnt of its GPUs so far."""

    surroundings: Surroundings
    reading: Reading | None = None


@dataclass(frozen=True)
class Found:
    """What a check has to say. `reading` is for the checks after it."""

    said: str
    troubles: Sequence[Trouble] = ()
    reading: Reading | None = None


@dataclass(frozen=True)
class Check:
    """One row of the table.

    `look` may raise NotChecked. It is given its time, and is left behind when that has
    passed; `late` is the trouble that this is.
    """

    name: str
    look: Callable[[Patient, float], Found]
    limit_s: float = 3.0
    is_of_node: bool = True
    has_own_children: bool = False
    late: Trouble | None = None


def examine(
    patient: Patient, checks: Sequence[Check], budget_s: float
) -> Iterator[tuple[Result, Patient]]:
    """Each result as it comes; all checks together take no longer than the budget."""
    end_s = time.monotonic() + budget_s
    for check in checks:
        left_s = end_s - time.monotonic()
        if left_s > 0:
            result, patient = _look(check, patient, min(check.limit_s, left_s))
        else:
            result = _not_checked(check, "the checks before it took all the time", True)
        yield result, patient


def _look(check: Check, patient: Patient, limit_s: float) -> tuple[Result, Patient]:
    try:
        if check.has_own_children:
            found = check.look(patient, limit_s)
        else:
            found = within(limit_s, lambda: check.look(patient, limit_s))
    except NotChecked as reason:
        return _not_checked(check, reason.reason, reason.is_needed), patient
    except Died as error:
        return _not_checked(check, str(error), True), patient
    except TooLate:
        return _late(check, limit_s), patient
    except OSError as error:
        return _not_checked(check, f"no child could be started: {error}", True), patient
    result = Result(
        check.name,
        TROUBLE if found.troubles else OK,
        found.said,
        tuple(found.troubles),
        check.is_of_node,
    )
    return result, replace(patient, reading=found.reading or patient.reading)


def _not_checked(check: Check, why: str, is_needed: bool) -> Result:
    return Result(check.name, NOT_CHECKED, why, is_needed=is_needed)


def _late(check: Check, limit_s: float) -> Result:
    said = f"no answer within {limit_s:.3g} s"
    trouble = check.late or Trouble(
        "node-hangs",
        f"{check.name}: {said}",
        "look for a file system or a name service that does not answer",
    )
    return Result(check.name, TROUBLE, said, (trouble,))
