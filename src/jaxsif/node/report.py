"""What the doctor has found on a node, as a verdict, a table and JSON: pure."""
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

# A reason as `scontrol` takes it: one line, no quotes, and short enough for `sinfo -R`.
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Result:
    """Of one check.

    `is_of_node`: the trouble is the node's, not of the one who asks. `is_needed`: it was
    not checked, and without it nothing can be said of the node.
    """

    check: str
    outcome: str
    said: str
    problems: tuple[Problem, ...] = ()
    is_of_node: bool = True
    is_needed: bool = False


@dataclass(frozen=True)
class NodeReport:
    """Of one node."""

    node: str
    image: str
    is_quick: bool
    results: tuple[Result, ...]
    is_strict: bool = False
    reading: Reading | None = None
    elapsed_s: float = 0.0

    @property
    def status(self) -> int:
        """As an exit status; silence about what is needed is no pass."""
        if self._serious():
            return FAIL
        if self._unknown() or not self.results:
            return COULD_NOT_TELL
        return PASS

    @property
    def reason(self) -> str:
        """The last line: what to do with the node, and why."""
        serious, unknown = self._serious(), self._unknown()
        if serious:
            # A node is not drained for what is wrong with the one who asks.
            of_node = [problem for result, problem in serious if result.is_of_node]
            word = "DRAIN" if of_node else "FAIL"
            told = of_node or [problem for _, problem in serious]
            more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
            return self._line(word, f": {told[0].kind} {told[0].text}", more)
        if unknown:
            why = f"{unknown[0].check} not checked: {unknown[0].said}"
            return self._line("COULD NOT TELL", f": {why}")
        if not self.results:
            return self._line("COULD NOT TELL", ": nothing was checked")
        kinds = dict.fromkeys(t.kind for r in self.results for t in r.problems)
        return self._line("OK", f", but {', '.join(kinds)}" if kinds else "")

    def _line(self, word: str, text: str, more: str = "") -> str:
        line = f"jax-sif doctor: {word} {self.node}{text}"
        line = " ".join(line.split()).replace('"', "'")
        room = _LONGEST_REASON - len(more)
        return (line if len(line) <= room else f"{line[: room - 3]}...") + more

    def _serious(self) -> list[tuple[Result, Problem]]:
        return [
            (result, problem)
            for result in self.results
            for problem in result.problems
            if problem.is_fatal or self.is_strict
        ]

    def _unknown(self) -> list[Result]:
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
        f"{result.check:<{width}}  {result.outcome:<11}  {result.said}".rstrip() + "\n"
    )


def closing(examination: NodeReport) -> str:
    """The troubles with their remedies, and the reason as last line."""
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
    """The same for programs."""
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
                "said": result.said,
                "is_of_node": result.is_of_node,
                "is_needed": result.is_needed,
                "problems": [asdict(problem) for problem in result.problems],
            }
            for result in examination.results
        ],
        "gpus": None if reading is None else [asdict(gpu) for gpu in reading.gpus],
    }
