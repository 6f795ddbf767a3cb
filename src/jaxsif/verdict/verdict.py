"""The verdict on a step: what was found, and the exit status that follows; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxsif.bandwidth import rating
from jaxsif.bandwidth.baseline import Baseline
from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.core.evidence import Case, Finding
from jaxsif.core.history import Board, Ending, Stories
from jaxsif.core.naming import numbers_of, where
from jaxsif.core.records import KEY_VARIABLE
from jaxsif.core.topology import Topology
from jaxsif.logs.diagnosis import NOTHING_HEARD, Diagnosis
from jaxsif.verdict.checks import find
from jaxsif.verdict.processes import LEFT_QUIETLY

_NOTHING_MEASURED = "nothing-measured"

WORDS = {PASS: "PASS", FAIL: "FAIL", COULD_NOT_TELL: "COULD NOT TELL"}


@dataclass(frozen=True)
class Verdict:
    """On one step. `stories` are the ranks by number, `program_status` what a program
    without the kit ended with, as the launcher names it."""

    step: str
    topology: Topology
    stories: Stories
    findings: tuple[Finding, ...]
    status: int
    # The speed, for the line of a pass; empty where none was measured.
    headline: str = ""
    # Each test's speed, with what was expected of it where anybody knows.
    speeds: tuple[rating.Measured, ...] = ()
    program_status: int | None = None


def judge(
    board: Board,
    topology: Topology,
    damaged: int = 0,
    nodes: Sequence[str] = (),
    diagnosis: Diagnosis = NOTHING_HEARD,
    *,
    is_strict: bool = False,
    baseline: Baseline | None = None,
    foreign: int = 0,
    is_program: bool = False,
) -> list[Verdict]:
    """One verdict per step in the stream; one that could not tell when there is none.

    Args:
      damaged: how many records did not arrive whole.
      nodes: the names of the job's nodes in Slurm's order, if they are known.
      diagnosis: what the lines between the records say.
      is_strict: whether a warning fails too.
      baseline: speeds that were seen when all was well.
      is_program: whether it is a user's, which need not use the kit.
      foreign: how many records are of another job.
    """
    steps = board.steps
    if not steps and (board.ended or board.is_ended_from_outside or board.failed_nodes):
        steps = {"": {}}
    cases = {
        step: Case(
            topology,
            stories,
            _believed(board.ended, topology, stories),
            nodes,
            board.cancelled,
            diagnosis.recognised,
            is_program,
            baseline,
            board.silent(step),
            board.has_launcher_hung,
            board.has_ended_launcher,
            board.failed_nodes,
            board.interrupted,
        )
        for step, stories in steps.items()
    }
    newer = diagnosis.newer_records
    if not cases:
        silence = (
            _newer_records(newer) if newer else _nothing_to_judge(damaged, foreign)
        )
        return [Verdict("", topology, {}, (silence,), COULD_NOT_TELL)]
    return [
        _judge_case(step, case, damaged, newer, is_strict)
        for step, case in cases.items()
    ]


def _believed(
    ended: Mapping[int, Ending], topology: Topology, stories: Stories
) -> Mapping[int, Ending]:
    """What was said of ranks that the step can have; else another program printed it."""
    processes = max(topology.processes, max(stories, default=-1) + 1)
    endings = {id(ending): ending for ending in ended.values()}
    strange = {key for key, e in endings.items() if max(e.ranks) >= processes}
    return {rank: e for rank, e in ended.items() if id(e) not in strange}


def is_silence(verdict: Verdict) -> bool:
    """Whether nobody has told how it ended, neither well nor ill."""
    kinds = [f.kind for f in verdict.findings if not f.is_warning]
    if kinds == [_NOTHING_MEASURED]:
        return not verdict.stories
    return kinds == [LEFT_QUIETLY]


def _judge_case(
    step: str, case: Case, damaged: int, newer: int, is_strict: bool
) -> Verdict:
    findings = find(case)
    if newer:
        findings.insert(0, _newer_records(newer))
    if damaged:
        findings.append(_damaged_records(damaged))
    if all(f.is_warning for f in findings):
        findings += _unexplained(case)
    status = _status(findings, damaged, is_strict)
    headline = rating.headline(case.stories, case.topology, case.baseline)
    speeds = tuple(rating.judged(case.stories, case.topology, case.baseline))
    return Verdict(
        step,
        case.topology,
        case.stories,
        tuple(findings),
        status,
        headline,
        speeds,
        _program_status(case) if status == FAIL else None,
    )


def _program_status(case: Case) -> int | None:
    """What the first rank to end badly ended with, where that is all that is known."""
    first = next(iter(case.ended.values()), None)
    return first.exit_status if first and case.is_without_kit else None


def _unexplained(case: Case) -> list[Finding]:
    """The last guard: only a step in which every rank came to its end can pass."""
    silent = [s for s in case.stories.values() if not s.is_done]
    if not silent:
        return []
    text = f"{where(silent)} did not come to an end, and nobody says why"
    remedy = "please report this output: the judge should know the cause"
    return [Finding("unexplained", text, remedy, numbers_of(silent))]


def _status(findings: list[Finding], damaged: int, is_strict: bool) -> int:
    """Silence proves nothing where records were damaged; numbers that differ do."""
    warnings = [f for f in findings if f.is_warning]
    findings = [f for f in findings if not f.is_warning]
    if warnings and not findings:
        return FAIL if is_strict else PASS
    if any(f.kind == "newer-records" for f in findings):
        # What is missing may stand in what cannot be read.
        return COULD_NOT_TELL
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


def _newer_records(newer: int) -> Finding:
    return Finding(
        "newer-records",
        f"{newer} records are of a newer jax-sif than this one, and cannot be read",
        "judge with the jax-sif of the job's image: singularity exec $JAX_IMAGE jax-sif"
        " verify",
        is_failure=False,
    )


def _nothing_to_judge(damaged: int, foreign: int) -> Finding:
    got = f"{damaged} damaged records" if damaged else "no records"
    remedy = (
        "run a program of diag/, or one that narrates as they do, and pipe its output"
        " here: srun ... | jax-sif verify"
    )
    if foreign and not damaged:
        got = f"no records of this job, {foreign} of another one"
        remedy = (
            f"let {KEY_VARIABLE} reach the ranks as the script sets it (no env -i, no"
            " --export=NONE); an older output is judged by its name: jax-sif verify FILE"
        )
    return Finding(
        _NOTHING_MEASURED,
        f"{got} in the input; nothing was measured",
        remedy,
        is_failure=False,
    )
