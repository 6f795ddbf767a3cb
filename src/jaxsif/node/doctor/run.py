"""Run the doctor's checks in child processes, each with a timeout."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from jaxsif.core.errors import Problem
from jaxsif.node.doctor.isolate import (
    CheckCrashed,
    CheckSkipped,
    CheckTimeout,
    run_with_timeout,
)
from jaxsif.node.host import HostInfo
from jaxsif.node.nvml import NvmlReading

OK, PROBLEM, NOT_CHECKED = "ok", "problem", "not checked"


@dataclass(frozen=True)
class CheckContext:
    """The node, the check's time limit, and the GPU data of earlier checks."""

    host_info: HostInfo
    timeout_s: float = 3.0
    gpu_reading: NvmlReading | None = None


@dataclass(frozen=True)
class CheckResult:
    """The result of a check; `check` and `is_node_fault` are set from the check.

    `is_required`: it was skipped, and the node's state is unknown without it.
    """

    summary: str
    problems: tuple[Problem, ...] = ()
    gpu_reading: NvmlReading | None = None
    check: str = ""
    is_node_fault: bool = True
    is_skipped: bool = False
    is_required: bool = False

    @property
    def outcome(self) -> str:
        if self.is_skipped:
            return NOT_CHECKED
        return PROBLEM if self.problems else OK


@dataclass(frozen=True)
class Check:
    """One row of the table.

    `run` may raise CheckSkipped. After `timeout_s` it is abandoned, which is the
    problem `on_timeout`. `is_node_fault`: its problems are the node's, not the user's.
    """

    name: str
    run: Callable[[CheckContext], CheckResult]
    timeout_s: float = 3.0
    is_node_fault: bool = True
    spawns_children: bool = False
    on_timeout: Problem | None = None


def run_checks(
    host_info: HostInfo, checks: Sequence[Check], budget_s: float
) -> Iterator[CheckResult]:
    """Yield each result; all checks together take no longer than the budget."""
    end_s = time.monotonic() + budget_s
    context = CheckContext(host_info)
    for check in checks:
        remaining_s = end_s - time.monotonic()
        context = replace(context, timeout_s=min(check.timeout_s, remaining_s))
        result = _run(check, context)
        context = replace(
            context, gpu_reading=result.gpu_reading or context.gpu_reading
        )
        yield replace(result, check=check.name)


def _run(check: Check, context: CheckContext) -> CheckResult:
    if context.timeout_s <= 0:
        return _skipped("no time left after the checks before it", is_required=True)
    try:
        if check.spawns_children:
            result = check.run(context)
        else:
            work = partial(check.run, context)
            result = run_with_timeout(context.timeout_s, work)
    except CheckSkipped as skipped:
        return _skipped(skipped.reason, skipped.is_required)
    except CheckCrashed as error:
        return _skipped(str(error), is_required=True)
    except CheckTimeout:
        return _timed_out(check, context.timeout_s)
    except OSError as error:
        return _skipped(f"no child could be started: {error}", is_required=True)
    return replace(result, is_node_fault=check.is_node_fault)


def _skipped(reason: str, is_required: bool) -> CheckResult:
    return CheckResult(reason, is_skipped=True, is_required=is_required)


def _timed_out(check: Check, timeout_s: float) -> CheckResult:
    summary = f"no response within {timeout_s:.3g} s"
    problem = check.on_timeout or Problem(
        "check-timeout",
        f"{check.name}: {summary}",
        "look for a file system or a name service that does not respond",
    )
    return CheckResult(summary, (problem,))
