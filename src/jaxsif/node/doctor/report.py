"""The doctor's report on a node: verdict, table and JSON."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS, Problem
from jaxsif.core.text import MAX_QUOTE_CHARS, shortened
from jaxsif.node.doctor.run import CheckResult
from jaxsif.node.nvml import NvmlReading

SCHEMA = "jax-sif/doctor/1"

# A reason for `scontrol`: one line, no quotes, and short enough for `sinfo -R`.


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
