"""The verdict on a step: what was found, and the exit status that follows; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxsif.bandwidth import rating
from jaxsif.bandwidth.baseline import Baseline
from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.core.evidence import Finding, StepEvidence
from jaxsif.core.history import Histories, JobState, RankExit
from jaxsif.core.naming import ranks_of, where
from jaxsif.core.records import KEY_VARIABLE
from jaxsif.core.topology import Topology
from jaxsif.logs.diagnosis import NO_DIAGNOSIS, Diagnosis
from jaxsif.verdict.checks import find
from jaxsif.verdict.processes import LEFT_QUIETLY

_NO_RECORDS = "no-records"

WORDS = {PASS: "PASS", FAIL: "FAIL", COULD_NOT_TELL: "COULD NOT TELL"}


@dataclass(frozen=True)
class Verdict:
    """On one step. `histories` are the ranks by number, `program_status` what a program
    without the kit ended with, as the launcher names it."""

    step: str
    topology: Topology
    histories: Histories
    findings: tuple[Finding, ...]
    status: int
    # The speed, for the line of a pass; empty where none was measured.
    headline: str = ""
    # Each test's speed, with what was expected of it where anybody knows.
    speeds: tuple[rating.Measured, ...] = ()
    program_status: int | None = None


def judge(
    job_state: JobState,
    topology: Topology,
    damaged: int = 0,
    nodes: Sequence[str] = (),
    diagnosis: Diagnosis = NO_DIAGNOSIS,
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
    steps = job_state.steps
    if not steps and (
        job_state.ended or job_state.is_ended_from_outside or job_state.failed_nodes
    ):
        steps = {"": {}}
    cases = {
        step: StepEvidence(
            topology,
            histories,
            _believed(job_state.ended, topology, histories),
            nodes,
            job_state.cancelled,
            diagnosis.recognised,
            is_program,
            baseline,
            job_state.silent(step),
            job_state.has_launcher_hung,
            job_state.has_ended_launcher,
            job_state.failed_nodes,
            job_state.interrupted,
        )
        for step, histories in steps.items()
    }
    newer = diagnosis.newer_records
    if not cases:
        silence = _newer_records(newer) if newer else _no_records(damaged, foreign)
        return [Verdict("", topology, {}, (silence,), COULD_NOT_TELL)]
    return [
        _judge_case(step, case, damaged, newer, is_strict)
        for step, case in cases.items()
    ]


def _believed(
    ended: Mapping[int, RankExit], topology: Topology, histories: Histories
) -> Mapping[int, RankExit]:
    """What was said of ranks that the step can have; else another program printed it."""
    processes = max(topology.processes, max(histories, default=-1) + 1)
    endings = {id(ending): ending for ending in ended.values()}
    strange = {key for key, e in endings.items() if max(e.ranks) >= processes}
    return {rank: e for rank, e in ended.items() if id(e) not in strange}


def is_empty(verdict: Verdict) -> bool:
    """Whether nobody has told how it ended, neither well nor ill."""
    kinds = [f.kind for f in verdict.findings if not f.is_warning]
    if kinds == [_NO_RECORDS]:
        return not verdict.histories
    return kinds == [LEFT_QUIETLY]


def _judge_case(
    step: str, case: StepEvidence, damaged: int, newer: int, is_strict: bool
) -> Verdict:
    findings = find(case)
    if newer:
        findings.insert(0, _newer_records(newer))
    if damaged:
        findings.append(_damaged_records(damaged))
    if all(f.is_warning for f in findings):
        findings += _unexplained(case)
    status = _status(findings, damaged, is_strict)
    headline = rating.headline(case.histories, case.topology, case.baseline)
    speeds = tuple(rating.judged(case.histories, case.topology, case.baseline))
    return Verdict(
        step,
        case.topology,
        case.histories,
        tuple(findings),
        status,
        headline,
        speeds,
        _program_status(case) if status == FAIL else None,
    )


def _program_status(case: StepEvidence) -> int | None:
    """What the first rank to end badly ended with, where that is all that is known."""
    first = next(iter(case.ended.values()), None)
    return first.exit_status if first and case.is_without_kit else None


def _unexplained(case: StepEvidence) -> list[Finding]:
    """The last guard: only a step in which every rank came to its end can pass."""
    silent = [s for s in case.histories.values() if not s.is_done]
    if not silent:
        return []
    text = f"{where(silent)} did not come to an end, and nobody says why"
    remedy = "please report this output: the judge should know the cause"
    return [Finding("unknown-failure", text, remedy, ranks_of(silent))]


def _status(findings: list[Finding], damaged: int, is_strict: bool) -> int:
    """Silence proves nothing where records were damaged; numbers that differ do."""
    warnings = [f for f in findings if f.is_warning]
    findings = [f for f in findings if not f.is_warning]
    if warnings and not findings:
        return FAIL if is_strict else PASS
    if any(f.kind == "unknown-record-version" for f in findings):
        # What is missing may stand in what cannot be read.
        return COULD_NOT_TELL
    if damaged and all(f.kind in _INCONCLUSIVE_KINDS for f in findings):
        return COULD_NOT_TELL if len(findings) > 1 else PASS
    if any(f.is_failure for f in findings):
        return FAIL
    return COULD_NOT_TELL if findings else PASS


_INCONCLUSIVE_KINDS = {
    "rank-missing",
    "rank-incomplete",
    "peers-not-verified",
    "corrupt-records",
}


def _damaged_records(damaged: int) -> Finding:
    return Finding(
        "corrupt-records",
        f"{damaged} records arrived damaged (cut, or mixed with other output)",
        "let each rank print whole lines; keep `srun --unbuffered`",
        is_failure=False,
    )


def _newer_records(newer: int) -> Finding:
    return Finding(
        "unknown-record-version",
        f"{newer} records are of a newer jax-sif than this one, and cannot be read",
        "judge with the jax-sif of the job's image: singularity exec $JAX_IMAGE jax-sif"
        " verify",
        is_failure=False,
    )


def _no_records(damaged: int, foreign: int) -> Finding:
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
        _NO_RECORDS,
        f"{got} in the input; nothing was measured",
        remedy,
        is_failure=False,
    )
