"""The verdict on a step: what was found, and the exit status that follows; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.contract.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.contract.topology import Topology
from jaxsif.judge.board import Board, Stories
from jaxsif.judge.case import Case, Finding
from jaxsif.judge.checks import find

WORDS = {PASS: "PASS", FAIL: "FAIL", COULD_NOT_TELL: "COULD NOT TELL"}


@dataclass(frozen=True)
class Verdict:
    """On one step. `stories` are the ranks by number."""

    step: str
    topology: Topology
    stories: Stories
    findings: tuple[Finding, ...]
    status: int


def judge(
    board: Board, topology: Topology, damaged: int = 0, nodes: Sequence[str] = ()
) -> list[Verdict]:
    """One verdict per step in the stream; one that could not tell when there is none.

    Args:
      damaged: how many records did not arrive whole.
      nodes: the names of the job's nodes in Slurm's order, if they are known.
    """
    cases = {
        step: Case(topology, stories, board.ended, nodes)
        for step, stories in board.steps.items()
    }
    if not cases and board.ended:
        cases[""] = Case(topology, {}, board.ended, nodes)
    if not cases:
        silence = (_nothing_to_judge(damaged),)
        return [Verdict("", topology, {}, silence, COULD_NOT_TELL)]
    return [_judge_case(step, case, damaged) for step, case in cases.items()]


def _judge_case(step: str, case: Case, damaged: int) -> Verdict:
    findings = find(case)
    if damaged:
        findings.append(_damaged_records(damaged))
    status = _status(findings, damaged)
    return Verdict(step, case.topology, case.stories, tuple(findings), status)


def _status(findings: list[Finding], damaged: int) -> int:
    """Silence proves nothing where records were damaged; numbers that differ do."""
    if damaged and all(f.kind in _SILENCES for f in findings):
        return COULD_NOT_TELL if len(findings) > 1 else PASS
    if any(f.is_failure for f in findings):
        return FAIL
    return COULD_NOT_TELL if findings else PASS


_SILENCES = {"rank-missing", "unfinished", "identity-unproven", "damaged-records"}


def _damaged_records(damaged: int) -> Finding:
    return Finding(
        "damaged-records",
        f"{damaged} records arrived damaged (cut, or mixed with other output)",
        "let each rank print whole lines; keep `srun --unbuffered`",
        is_failure=False,
    )


def _nothing_to_judge(damaged: int) -> Finding:
    got = f"{damaged} damaged records" if damaged else "no records"
    return Finding(
        "nothing-measured",
        f"{got} in the input; nothing was measured",
        "run a program of diag/, or one that narrates as they do, and pipe its output"
        " here: srun ... | jax-sif verify",
        is_failure=False,
    )
