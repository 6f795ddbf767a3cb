"""Runs the doctor's checks, none of which can keep it waiting; on a node, in or out of a job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from jaxsif.core.problem import Problem
from jaxsif.node.host_info import HostInfo
from jaxsif.node.isolate import CheckCrashed, CheckSkipped, CheckTimeout, within
from jaxsif.node.nvml import Reading
from jaxsif.node.report import NOT_CHECKED, OK, TROUBLE, Result


@dataclass(frozen=True)
class CheckContext:
    """The node, and what the checks have learnt of its GPUs so far."""

    host_info: HostInfo
    reading: Reading | None = None


@dataclass(frozen=True)
class CheckOutput:
    """What a check has to say. `reading` is for the checks after it."""

    said: str
    problems: Sequence[Problem] = ()
    reading: Reading | None = None


@dataclass(frozen=True)
class Check:
    """One row of the table.

    `look` may raise CheckSkipped. It is given its time, and is left behind when that has
    passed; `late` is the trouble that this is.
    """

    name: str
    look: Callable[[CheckContext, float], CheckOutput]
    limit_s: float = 3.0
    is_of_node: bool = True
    has_own_children: bool = False
    late: Problem | None = None


def examine(
    patient: CheckContext, checks: Sequence[Check], budget_s: float
) -> Iterator[tuple[Result, CheckContext]]:
    """Each result as it comes; all checks together take no longer than the budget."""
    end_s = time.monotonic() + budget_s
    for check in checks:
        left_s = end_s - time.monotonic()
        if left_s > 0:
            result, patient = _look(check, patient, min(check.limit_s, left_s))
        else:
            result = _not_checked(check, "the checks before it took all the time", True)
        yield result, patient


def _look(
    check: Check, patient: CheckContext, limit_s: float
) -> tuple[Result, CheckContext]:
    try:
        if check.has_own_children:
            found = check.look(patient, limit_s)
        else:
            found = within(limit_s, lambda: check.look(patient, limit_s))
    except CheckSkipped as reason:
        return _not_checked(check, reason.reason, reason.is_needed), patient
    except CheckCrashed as error:
        return _not_checked(check, str(error), True), patient
    except CheckTimeout:
        return _late(check, limit_s), patient
    except OSError as error:
        return _not_checked(check, f"no child could be started: {error}", True), patient
    result = Result(
        check.name,
        TROUBLE if found.problems else OK,
        found.said,
        tuple(found.problems),
        check.is_of_node,
    )
    return result, replace(patient, reading=found.reading or patient.reading)


def _not_checked(check: Check, why: str, is_needed: bool) -> Result:
    return Result(check.name, NOT_CHECKED, why, is_needed=is_needed)


def _late(check: Check, limit_s: float) -> Result:
    said = f"no answer within {limit_s:.3g} s"
    problem = check.late or Problem(
        "check-timeout",
        f"{check.name}: {said}",
        "look for a file system or a name service that does not answer",
    )
    return Result(check.name, TROUBLE, said, (problem,))
