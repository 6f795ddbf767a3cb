"""Run the doctor's checks in child processes, each with a timeout."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from jaxsif.core.problem import Problem
from jaxsif.node.doctor.isolate import CheckCrashed, CheckSkipped, CheckTimeout, within
from jaxsif.node.doctor.report import NOT_CHECKED, OK, TROUBLE, Result
from jaxsif.node.host import HostInfo
from jaxsif.node.nvml import Reading


@dataclass(frozen=True)
class CheckContext:
    """The node, and the GPU reading of earlier checks."""

    host_info: HostInfo
    reading: Reading | None = None


@dataclass(frozen=True)
class CheckOutput:
    """The result of a check. `reading` is passed to later checks."""

    summary: str
    problems: Sequence[Problem] = ()
    reading: Reading | None = None


@dataclass(frozen=True)
class Check:
    """One row of the table.

    `run` may raise CheckSkipped. After `limit_s` it is abandoned, which is the problem
    `on_timeout`.
    """

    name: str
    run: Callable[[CheckContext, float], CheckOutput]
    limit_s: float = 3.0
    is_of_node: bool = True
    spawns_children: bool = False
    on_timeout: Problem | None = None


def run_checks(
    context: CheckContext, checks: Sequence[Check], budget_s: float
) -> Iterator[tuple[Result, CheckContext]]:
    """Yield each result; all checks together take no longer than the budget."""
    end_s = time.monotonic() + budget_s
    for check in checks:
        left_s = end_s - time.monotonic()
        if left_s > 0:
            result, context = _run(check, context, min(check.limit_s, left_s))
        else:
            result = _not_checked(
                check, "no time left after the checks before it", True
            )
        yield result, context


def _run(
    check: Check, context: CheckContext, limit_s: float
) -> tuple[Result, CheckContext]:
    try:
        if check.spawns_children:
            output = check.run(context, limit_s)
        else:
            output = within(limit_s, lambda: check.run(context, limit_s))
    except CheckSkipped as reason:
        return _not_checked(check, reason.reason, reason.is_needed), context
    except CheckCrashed as error:
        return _not_checked(check, str(error), True), context
    except CheckTimeout:
        return _timed_out(check, limit_s), context
    except OSError as error:
        return _not_checked(check, f"no child could be started: {error}", True), context
    result = Result(
        check.name,
        TROUBLE if output.problems else OK,
        output.summary,
        tuple(output.problems),
        check.is_of_node,
    )
    return result, replace(context, reading=output.reading or context.reading)


def _not_checked(check: Check, reason: str, is_needed: bool) -> Result:
    return Result(check.name, NOT_CHECKED, reason, is_needed=is_needed)


def _timed_out(check: Check, limit_s: float) -> Result:
    summary = f"no response within {limit_s:.3g} s"
    problem = check.on_timeout or Problem(
        "check-timeout",
        f"{check.name}: {summary}",
        "look for a file system or a name service that does not respond",
    )
    return Result(check.name, TROUBLE, summary, (problem,))
