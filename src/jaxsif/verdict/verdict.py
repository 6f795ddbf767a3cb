"""The verdict on a step: findings and exit status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxsif.bandwidth.baseline import Baseline
from jaxsif.bandwidth.results import BandwidthResults, bandwidth_results
from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.core.evidence import Finding, StepEvidence, ranks_of, where
from jaxsif.core.history import Histories, JobState, RankExit
from jaxsif.core.record_lines import KEY_VARIABLE
from jaxsif.core.topology import Topology
from jaxsif.hang.checks import findings as hang_findings
from jaxsif.hang.group import Hang
from jaxsif.logs.diagnosis import NO_DIAGNOSIS, Diagnosis
from jaxsif.pairs.results import PairResults, pair_results
from jaxsif.verdict.checks import find
from jaxsif.verdict.processes import LEFT_QUIETLY

_NO_RECORDS = "no-records"

WORDS: dict[int, Literal["PASS", "FAIL", "COULD NOT TELL"]] = {
    PASS: "PASS",
    FAIL: "FAIL",
    COULD_NOT_TELL: "COULD NOT TELL",
}


@dataclass(frozen=True)
class Verdict:
    """The verdict on one step.

    `histories` are the ranks by number; `program_status` is the exit status of a
    program without the kit, as the launcher reports it.
    """

    step: str
    topology: Topology
    histories: Histories
    findings: tuple[Finding, ...]
    status: int
    bandwidth: BandwidthResults | None = None
    pairs: PairResults | None = None
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
    mismatched: int = 0,
    is_program: bool = False,
    hang: Hang | None = None,
) -> list[Verdict]:
    """One verdict per step in the stream; COULD NOT TELL if there is no step.

    Args:
      damaged: number of damaged records.
      nodes: the names of the job's nodes in Slurm's order, if known.
      diagnosis: causes found in the lines between the records.
      is_strict: whether warnings fail.
      baseline: the performance baseline.
      is_program: whether it is a user's program, which need not use the kit.
      foreign: number of records of other jobs.
      mismatched: number of the damaged records that arrived whole, but lack a field, or
        have one of another type: those of another version of the kit.
      hang: why the step was ended, if no rank made progress.
    """
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
            bandwidth_results(histories, topology, baseline),
            pair_results(histories, topology.devices_per_node),
            # Ranks without the kit are of no step.
            hang if hang and step in (hang.step, "") else None,
        )
        for step, histories in _steps(job_state, hang).items()
    }
    unread = diagnosis.other_version_records
    if not cases:
        silence = _other_version(unread) if unread else _no_records(damaged, foreign)
        warnings = hang_findings(hang) if hang else ()
        return [Verdict("", topology, {}, (silence, *warnings), COULD_NOT_TELL)]
    return [
        _judge_case(step, case, damaged, unread, is_strict, mismatched)
        for step, case in cases.items()
    ]


def _steps(job_state: JobState, hang: Hang | None) -> dict[str, Histories]:
    """The ranks of each step; an unnamed one if only the end of a step is known."""
    is_ended = job_state.ended or job_state.is_ended_from_outside
    is_ended = is_ended or (hang is not None and hang.is_certain)
    if not job_state.steps and (is_ended or job_state.failed_nodes):
        return {"": {}}
    return job_state.steps


def _believed(
    ended: Mapping[int, RankExit], topology: Topology, histories: Histories
) -> Mapping[int, RankExit]:
    """Exits of ranks that the step can have; others were printed by another program."""
    processes = max(topology.processes, max(histories, default=-1) + 1)
    endings = {id(ending): ending for ending in ended.values()}
    strange = {key for key, e in endings.items() if max(e.ranks) >= processes}
    return {rank: e for rank, e in ended.items() if id(e) not in strange}


def is_empty(verdict: Verdict) -> bool:
    """Whether there is no report of success or failure."""
    kinds = [f.kind for f in verdict.findings if not f.is_warning]
    if kinds == [_NO_RECORDS]:
        return not verdict.histories
    return kinds == [LEFT_QUIETLY]


def _judge_case(
    step: str,
    case: StepEvidence,
    damaged: int,
    unread: int,
    is_strict: bool,
    mismatched: int,
) -> Verdict:
    findings = find(case)
    if unread:
        findings.insert(0, _other_version(unread))
    if damaged:
        findings.append(_damaged_records(damaged, mismatched))
    if all(f.is_warning for f in findings):
        findings += _unexplained(case)
    status = _status(findings, damaged, is_strict)
    if status == PASS and mismatched:
        # Nothing explains them but another version, whose ranks may have failed.
        status = COULD_NOT_TELL
    return Verdict(
        step,
        case.topology,
        case.histories,
        tuple(findings),
        status,
        case.bandwidth,
        case.pairs,
        _program_status(case) if status == FAIL else None,
    )


def _program_status(case: StepEvidence) -> int | None:
    """The exit status of the first failed rank, if nothing else is known."""
    first = next(iter(case.ended.values()), None)
    return first.exit_status if first and case.is_without_kit else None


def _unexplained(case: StepEvidence) -> list[Finding]:
    """The last guard: a step passes only if every rank finished."""
    silent = [s for s in case.histories.values() if not s.is_done]
    if not silent:
        return []
    text = f"{where(silent)} did not finish, and no cause was found in the output"
    remedy = "please report this output: jax-sif verify should name the cause"
    return [Finding("unknown-failure", text, remedy, ranks_of(silent))]


def _status(findings: list[Finding], damaged: int, is_strict: bool) -> int:
    """With damaged records, missing ones prove nothing; differing values do."""
    warnings = [f for f in findings if f.is_warning]
    findings = [f for f in findings if not f.is_warning]
    if warnings and not findings:
        return FAIL if is_strict else PASS
    if any(f.kind == "unknown-record-version" for f in findings):
        # A missing record may be among the unreadable ones.
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


def _damaged_records(damaged: int, mismatched: int) -> Finding:
    if mismatched:
        return Finding(
            "corrupt-records",
            f"{damaged} records cannot be read; {mismatched} of them arrived whole, but"
            " have other fields than this version of jax-sif writes",
            "use the jax-sif of the job's image: singularity exec $JAX_IMAGE jax-sif"
            " verify",
            is_failure=False,
        )
    return Finding(
        "corrupt-records",
        f"{damaged} records are damaged (cut, or mixed with other output)",
        "let each rank print whole lines; keep `srun --unbuffered`",
        is_failure=False,
    )


def _other_version(records: int) -> Finding:
    return Finding(
        "unknown-record-version",
        f"{records} records are from an older or newer jax-sif and cannot be read",
        "use the jax-sif of the job's image: singularity exec $JAX_IMAGE jax-sif"
        " verify",
        is_failure=False,
    )


def _no_records(damaged: int, foreign: int) -> Finding:
    got = f"{damaged} damaged records" if damaged else "no records"
    remedy = (
        "run a program from diag/, or one that reports its phases as they do, and pipe"
        " its output here: srun ... | jax-sif verify"
    )
    if foreign and not damaged:
        got = f"no records of this job, {foreign} of another one"
        remedy = (
            f"pass {KEY_VARIABLE} unchanged from the script to the ranks (no env -i, no"
            " --export=NONE); for the output of an earlier job: jax-sif verify FILE"
        )
    return Finding(
        _NO_RECORDS,
        f"{got} in the input; nothing was measured",
        remedy,
        is_failure=False,
    )
