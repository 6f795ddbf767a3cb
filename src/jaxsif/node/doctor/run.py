"""Run the doctor's checks in children with timeouts, and report on the node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS, Problem
from jaxsif.core.text import MAX_QUOTE_CHARS, shortened
from jaxsif.node.doctor.isolate import (
    CheckCrashed,
    CheckSkipped,
    CheckTimeout,
    run_with_timeout,
)
from jaxsif.node.host import HostInfo
from jaxsif.node.nvml import NvmlReading

SCHEMA = "jax-sif/doctor/1"

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


@dataclass(frozen=True)
class NodeReport:
    """The results on one node."""

    node: str
    image: str
    is_quick: bool
    results: tuple[CheckResult, ...] = ()
    is_strict: bool = False
    elapsed_s: float = 0.0

    @property
    def status(self) -> int:
        """The exit status; a required check that was skipped prevents a pass."""
        if self._fatal_results():
            return FAIL
        if self._skipped_results() or not self.results:
            return COULD_NOT_TELL
        return PASS

    @property
    def reason(self) -> str:
        """The last line: what to do with the node, and why."""
        fatal, skipped = self._fatal_results(), self._skipped_results()
        if fatal:
            # A node is not drained because of a user's mistake.
            node_faults = [p for result, p in fatal if result.is_node_fault]
            status = "DRAIN" if node_faults else "FAIL"
            problems = node_faults or [problem for _, problem in fatal]
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            return self._line(status, f": {problems[0].kind} {problems[0].text}", more)
        if skipped:
            reason = f"{skipped[0].check} not checked: {skipped[0].summary}"
            return self._line("COULD NOT TELL", f": {reason}")
        if not self.results:
            return self._line("COULD NOT TELL", ": nothing was checked")
        kinds = dict.fromkeys(p.kind for r in self.results for p in r.problems)
        return self._line("OK", f", but {', '.join(kinds)}" if kinds else "")

    @property
    def gpu_reading(self) -> NvmlReading | None:
        readings = (result.gpu_reading for result in self.results)
        return next(filter(None, readings), None)

    def _line(self, status: str, text: str, more: str = "") -> str:
        # A reason for `scontrol`: one line, no quotes, and short enough for `sinfo -R`.
        line = f"jax-sif doctor: {status} {self.node}{text}"
        line = " ".join(line.split()).replace('"', "'")
        return shortened(line, MAX_QUOTE_CHARS - len(more)) + more

    def _fatal_results(self) -> list[tuple[CheckResult, Problem]]:
        return [
            (result, problem)
            for result in self.results
            for problem in result.problems
            if problem.is_fatal or self.is_strict
        ]

    def _skipped_results(self) -> list[CheckResult]:
        skipped = [result for result in self.results if result.is_skipped]
        if len(skipped) == len(self.results):
            return skipped
        return [result for result in skipped if result.is_required]


def header(report: NodeReport) -> str:
    command = "doctor --quick" if report.is_quick else "doctor"
    return f"jax-sif {command} on {report.node}, {report.image}\n"


def format_row(result: CheckResult, width: int) -> str:
    """One line of the table, printed when the check ends."""
    row = f"{result.check:<{width}}  {result.outcome:<11}  {result.summary}"
    return f"{row.rstrip()}\n"


def footer(report: NodeReport) -> str:
    """The problems with their remedies, fatal ones first, and the reason at the end."""
    problems = [problem for result in report.results for problem in result.problems]
    problems.sort(key=lambda problem: not problem.is_fatal)
    lines = []
    for number, problem in enumerate(problems, 1):
        severity = "" if problem.is_fatal else "warning: "
        lines += [f"{number}. {problem.kind}: {severity}{problem.text}"]
        lines += [f"   -> {problem.remedy}"]
    return "\n".join([*lines, report.reason]) + "\n"


def as_json(report: NodeReport) -> dict[str, Any]:
    """The report as JSON."""
    reading = report.gpu_reading
    return {
        "schema": SCHEMA,
        "node": report.node,
        "image": report.image,
        "is_quick": report.is_quick,
        "is_strict": report.is_strict,
        "status": report.status,
        "reason": report.reason,
        "elapsed_s": round(report.elapsed_s, 3),
        "checks": [
            {
                "check": result.check,
                "outcome": result.outcome,
                "summary": result.summary,
                "is_node_fault": result.is_node_fault,
                "is_required": result.is_required,
                "problems": [asdict(problem) for problem in result.problems],
            }
            for result in report.results
        ],
        "gpus": None if reading is None else [asdict(gpu) for gpu in reading.gpus],
    }
