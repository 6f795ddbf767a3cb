"""The doctor's report on a node: verdict, table and JSON."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.core.problem import Problem
from jaxsif.node.nvml import Reading

SCHEMA = "jax-sif/doctor/1"

OK, TROUBLE, NOT_CHECKED = "ok", "trouble", "not checked"

# A reason for `scontrol`: one line, no quotes, and short enough for `sinfo -R`.
_MAX_REASON = 200


@dataclass(frozen=True)
class Result:
    """The result of one check.

    `is_of_node`: the problem is the node's, not the user's. `is_needed`: it was not
    checked, and the node's state is unknown without it.
    """

    check: str
    outcome: str
    summary: str
    problems: tuple[Problem, ...] = ()
    is_of_node: bool = True
    is_needed: bool = False


@dataclass(frozen=True)
class NodeReport:
    """The results on one node."""

    node: str
    image: str
    is_quick: bool
    results: tuple[Result, ...]
    is_strict: bool = False
    reading: Reading | None = None
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
            of_node = [problem for result, problem in fatal if result.is_of_node]
            status = "DRAIN" if of_node else "FAIL"
            problems = of_node or [problem for _, problem in fatal]
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            return self._line(status, f": {problems[0].kind} {problems[0].text}", more)
        if skipped:
            reason = f"{skipped[0].check} not checked: {skipped[0].summary}"
            return self._line("COULD NOT TELL", f": {reason}")
        if not self.results:
            return self._line("COULD NOT TELL", ": nothing was checked")
        kinds = dict.fromkeys(t.kind for r in self.results for t in r.problems)
        return self._line("OK", f", but {', '.join(kinds)}" if kinds else "")

    def _line(self, status: str, text: str, more: str = "") -> str:
        line = f"jax-sif doctor: {status} {self.node}{text}"
        line = " ".join(line.split()).replace('"', "'")
        limit = _MAX_REASON - len(more)
        return (line if len(line) <= limit else f"{line[: limit - 3]}...") + more

    def _fatal_results(self) -> list[tuple[Result, Problem]]:
        return [
            (result, problem)
            for result in self.results
            for problem in result.problems
            if problem.is_fatal or self.is_strict
        ]

    def _skipped_results(self) -> list[Result]:
        unchecked = [r for r in self.results if r.outcome == NOT_CHECKED]
        if len(unchecked) == len(self.results):
            return unchecked
        return [result for result in unchecked if result.is_needed]


def heading(examination: NodeReport) -> str:
    depth = "doctor --quick" if examination.is_quick else "doctor"
    return f"jax-sif {depth} on {examination.node}, {examination.image}\n"


def row(result: Result, width: int) -> str:
    """One line of the table, as the check ends."""
    return (
        f"{result.check:<{width}}  {result.outcome:<11}  {result.summary}".rstrip()
        + "\n"
    )


def closing(examination: NodeReport) -> str:
    """The problems with their remedies, and the reason as last line."""
    lines = []
    for number, problem in enumerate(_worst_first(examination.results), 1):
        sign = "" if problem.is_fatal else "warning: "
        lines += [f"{number}. {problem.kind}: {sign}{problem.text}"]
        lines += [f"   -> {problem.remedy}"]
    return "\n".join([*lines, examination.reason]) + "\n"


def _worst_first(results: Iterable[Result]) -> list[Problem]:
    found = [problem for result in results for problem in result.problems]
    return sorted(found, key=lambda problem: not problem.is_fatal)


def as_facts(examination: NodeReport) -> dict[str, Any]:
    """The report as JSON."""
    reading = examination.reading
    return {
        "schema": SCHEMA,
        "node": examination.node,
        "image": examination.image,
        "is_quick": examination.is_quick,
        "is_strict": examination.is_strict,
        "status": examination.status,
        "reason": examination.reason,
        "elapsed_s": round(examination.elapsed_s, 3),
        "checks": [
            {
                "check": result.check,
                "outcome": result.outcome,
                "said": result.summary,
                "is_of_node": result.is_of_node,
                "is_needed": result.is_needed,
                "problems": [asdict(problem) for problem in result.problems],
            }
            for result in examination.results
        ],
        "gpus": None if reading is None else [asdict(gpu) for gpu in reading.gpus],
    }
