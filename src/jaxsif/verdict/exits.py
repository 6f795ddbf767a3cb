"""Checks of how ranks ended, from their records, Slurm's messages and the log."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from jaxsif.core.evidence import (
    Finding,
    StepEvidence,
    ranks_of,
    sorted_by_arrival,
    where,
)
from jaxsif.core.history import RankExit, RankHistory
from jaxsif.core.records import (
    DEADLINE_EXCEEDED,
    FAILED,
    TERMINATED,
    AllReduceRecord,
    BandwidthRecord,
    DeadlineExceededRecord,
    FailedRecord,
    IdentityRecord,
    PairRecord,
    RanksAtPosition,
    WaitingRecord,
)
from jaxsif.core.text import format_ranks
from jaxsif.logs import catalogue

_BY_SIGTERM = ("Terminated", "Exited with exit code 143")
# Exits that follow from another rank's: JAX aborts when a peer is gone, and srun
# terminates the rest and unmounts the image that they run from.
_COLLATERAL_REASONS = ("Aborted", "Bus error", *_BY_SIGTERM)


_FEW = 8
# Reported by nodes_failed(), with the ranks of the node.
_NODE_FAILED = "slurm-node-failed"


def has_reported_cause(history: RankHistory | None) -> bool:
    """Whether a rank reported why it ended."""
    return history is not None and (
        not {FAILED, DEADLINE_EXCEEDED, TERMINATED}.isdisjoint(history.phases)
        or _has_wrong_results(history)
        or has_partner_timeout(history)
    )


def _has_wrong_results(history: RankHistory) -> bool:
    sums, identity = history.last(AllReduceRecord), history.last(IdentityRecord)
    return bool(
        (sums is not None and sums.wrong_elements)
        or (identity is not None and identity.foreign_count)
        or any(record.wrong_elements for record in history.measured(BandwidthRecord))
        or any(record.wrong_elements for record in history.measured(PairRecord))
    )


def has_partner_timeout(history: RankHistory) -> bool:
    """Whether a rank gave up because the other node of its pair did not respond."""
    return any(record.timed_out for record in history.measured(PairRecord))


def starts_failed(case: StepEvidence) -> Iterator[Finding]:
    """Problems that a rank found before it could start."""
    by_problem: dict[tuple[str, str, str], list[RankHistory]] = defaultdict(list)
    named_ranks: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for history in sorted_by_arrival(case.histories.values(), FAILED):
        record = history.last(FailedRecord)
        for problem in record.problems if record else ():
            key = (problem.kind, problem.text, problem.remedy)
            by_problem[key].append(history)
            named_ranks[key] = tuple(problem.ranks)
    for key, group in by_problem.items():
        kind, text, remedy = key
        # A problem that rank 0 reports about others names them in its text.
        named = text if named_ranks[key] else f"{where(group)}: {text}"
        yield Finding(kind, named, remedy, named_ranks[key] or ranks_of(group))


def ranks_left(case: StepEvidence) -> Iterator[Finding]:
    """Ranks that ended with status 0 before they were done, as by `os._exit(0)`.

    The launcher reports any other status, so these are the ranks that are neither done
    nor named in a report.
    """
    histories = case.histories
    if (
        case.end_from_outside
        or case.has_ended_launcher
        or not case.ended
        or case.silent
    ):
        return
    is_whole = len(histories) == case.topology.processes
    left = [
        history
        for history in histories.values()
        if not (
            history.is_done or history.rank in case.ended or has_reported_cause(history)
        )
    ]
    # If many are missing, the launcher's messages may have been lost.
    if is_whole and 0 < len(left) <= max(1, len(histories) // _FEW):
        yield Finding(
            "rank-left",
            f"{where(left)} exited with status 0 before the other ranks were done; last"
            f" phase: {left[0].phase!r}",
            "check for os._exit(0), or a wrapper that hides an exit status; a rank must"
            " not exit before all ranks have passed their last collective",
            ranks_of(left),
        )


def programs_failed(case: StepEvidence) -> Iterator[Finding]:
    """The first exception in a rank, unless it is a consequence of another exit."""
    for error, failed in list(_errors(case).items())[:1]:
        if not _follows(case, error, failed[0]):
            yield Finding(
                "program-failed",
                f"{where(failed)} ended in an exception: {error}",
                "its traceback is in the output above",
                ranks_of(failed),
            )


def secondary_errors(case: StepEvidence) -> Iterator[Finding]:
    """The exceptions of other ranks, in one line."""
    errors = list(_errors(case).items())
    if errors and not _follows(case, errors[0][0], errors[0][1][0]):
        del errors[0]
    later = {history.rank: history for _, failed in errors for history in failed}
    if later:
        group = [later[rank] for rank in sorted(later)]
        yield Finding(
            "secondary-errors",
            f"{where(group)} ended in exceptions after that: {errors[0][0]}",
            "fix the first cause; their tracebacks are in the output above",
            ranks_of(group),
        )


def _errors(case: StepEvidence) -> dict[str, list[RankHistory]]:
    """The ranks by exception, causes first, then in order of arrival."""
    by_error: dict[str, list[RankHistory]] = defaultdict(list)
    for history in sorted_by_arrival(case.histories.values(), FAILED):
        record = history.last(FailedRecord)
        if record is not None and record.error is not None:
            by_error[record.error].append(history)
    order = sorted(by_error.items(), key=lambda e: _follows(case, e[0], e[1][0]))
    return dict(order)


def _follows(case: StepEvidence, error: str, first: RankHistory) -> bool:
    """Whether an exception is a consequence of another rank's exit."""
    stuck = [
        s.arrival[DEADLINE_EXCEEDED]
        for s in case.histories.values()
        if DEADLINE_EXCEEDED in s.phases
    ]
    match = catalogue.load().match(error)
    is_consequence = match is not None and match.cause.role != "cause"
    return is_consequence or first.arrival[FAILED] > min(stuck, default=math.inf)


def log_causes(case: StepEvidence) -> Iterator[Finding]:
    """Causes found in lines that other programs printed."""
    yield from _recognised(case, "cause")


def log_symptoms(case: StepEvidence) -> Iterator[Finding]:
    """Symptoms found in such lines, whose cause is elsewhere."""
    yield from _recognised(case, "symptom")


def _recognised(case: StepEvidence, role: str) -> Iterator[Finding]:
    if not case.has_failed or case.end_from_outside:
        return
    for found in case.recognised:
        if found.role != role or found.cause.task_exit:
            continue
        if found.cause.id == _NODE_FAILED and case.failed_nodes:
            continue
        # A rank reports what it prints as a record as well.
        if found.cause.id.startswith("kit-") and _have_reported(case, found.ranks):
            continue
        text, ranks = found.text, found.ranks
        # A line without a rank is most likely about the first rank to exit.
        if not ranks and not found.nodes and case.ended:
            ending = next(iter(case.ended.values()))
            group = [
                case.histories.get(r, RankHistory(r, ending.node)) for r in ending.ranks
            ]
            text, ranks = f"{where(group)}: {text}", ending.ranks
        yield Finding(found.cause.id, text, found.cause.remedy, ranks)


def nodes_failed(case: StepEvidence) -> Iterator[Finding]:
    """Nodes that failed according to Slurm."""
    index_of = {node: index for index, node in enumerate(case.all_nodes)}
    for node in case.failed_nodes:
        ranks = [
            history.rank for history in case.histories.values() if history.node == node
        ]
        if not ranks and node in index_of:
            per_node = case.topology.processes_per_node
            first = index_of[node] * per_node
            expected = range(first, first + per_node)
            ranks = [rank for rank in expected if rank not in case.histories]
        on_it = f" ({format_ranks(ranks)})" if ranks else ""
        yield Finding(
            _NODE_FAILED,
            f"{node}{on_it} failed or stopped responding to Slurm",
            "submit again without that node (--exclude), and inform the operators",
            tuple(ranks),
        )


def cancelled(case: StepEvidence) -> Iterator[Finding]:
    """The step was ended from outside: no rank is the cause, nothing is proven."""
    if case.end_from_outside:
        yield Finding(
            "cancelled",
            f"{case.end_from_outside}; no rank is the cause",
            "the table above shows the last phase of each rank; for a time limit,"
            " request more with --time",
            is_failure=False,
        )


def terminated(case: StepEvidence) -> Iterator[Finding]:
    """Ranks got SIGTERM, and no cause within the step is known."""
    group = sorted_by_arrival(case.histories.values(), TERMINATED)
    has_reason = any(
        not {FAILED, DEADLINE_EXCEEDED}.isdisjoint(s.phases) or has_partner_timeout(s)
        for s in case.histories.values()
    )
    has_reason |= bool(case.silent or case.failed_nodes)
    others = any(not e.reason.startswith(_BY_SIGTERM) for e in case.ended.values())
    if group and not has_reason and not others and not case.end_from_outside:
        yield Finding(
            "terminated",
            f"{where(group)} got SIGTERM from outside; no rank is the cause",
            "the job was preempted or cancelled; the table above shows the last phase"
            " of each rank",
            ranks_of(group),
            is_failure=False,
        )


def desynchronized_ranks(case: StepEvidence) -> Iterator[Finding]:
    """Ranks that wait for each other at different positions in the program."""
    for history in sorted_by_arrival(case.histories.values(), DEADLINE_EXCEEDED)[:1]:
        record = history.last(DeadlineExceededRecord)
        positions = record.desynchronized if record else []
        if len(positions) < 2:
            return
        majority = max(positions, key=lambda position: position.count)
        for position in positions:
            if position is not majority:
                yield _desynchronized(case, position, majority)


def _desynchronized(
    case: StepEvidence, position: RanksAtPosition, majority: RanksAtPosition
) -> Finding:
    group = [case.histories[rank] for rank in position.ranks if rank in case.histories]
    waiting = (history.last(WaitingRecord) for history in group)
    lines = {record.source_line for record in waiting if record}
    at = f" ({', '.join(sorted(lines)[:2])})" if lines else ""
    return Finding(
        "collective-desync",
        f"{where(group)}: {position.position}{at}, while {majority.count} other ranks"
        f" wait {majority.position}",
        "all ranks must call the same collectives in the same order: check that line",
        ranks_of(group),
    )


def deadlines_exceeded(case: StepEvidence) -> Iterator[Finding]:
    """Ranks whose deadline expired."""
    by_line: dict[tuple[str, str], list[RankHistory]] = defaultdict(list)
    waited_s: dict[tuple[str, str], float] = {}
    for history in sorted_by_arrival(case.histories.values(), DEADLINE_EXCEEDED):
        record = history.last(DeadlineExceededRecord)
        if record is not None and not record.desynchronized:
            key = record.missing_phase, record.source_line
            by_line[key].append(history)
            waited_s.setdefault(key, record.waited_s)
    for (missing, line), group in by_line.items():
        yield Finding(
            "deadline-exceeded",
            f"{where(group)}: no {missing!r} after {waited_s[missing, line]:.0f} s"
            f" (at {line})",
            "its stack traces are in the output above; JAX_SIF_DEADLINE_S sets the"
            " limit",
            ranks_of(group),
        )


def _have_reported(case: StepEvidence, ranks: Sequence[int]) -> bool:
    return bool(ranks) and all(
        has_reported_cause(case.histories.get(rank)) for rank in ranks
    )


def ranks_ended(case: StepEvidence) -> Iterator[Finding]:
    """A rank that failed according to srun without reporting a cause."""
    yield from _ended(case, [e for e in _endings(case) if not _is_collateral(e)])


def ranks_terminated_by_launcher(case: StepEvidence) -> Iterator[Finding]:
    """Ranks that ended as if because of another rank, if no other cause is known."""
    is_known = bool(case.silent or case.failed_nodes) or any(
        not {FAILED, DEADLINE_EXCEEDED}.isdisjoint(history.phases)
        for history in case.histories.values()
    )
    own = (e for e in _endings(case) if not _is_collateral(e))
    if (
        not is_known
        and not any(ranks_left(case))
        and not any(silent_ranks(case, ending) for ending in own)
    ):
        yield from _ended(case, _endings(case))


def _endings(case: StepEvidence) -> list[RankExit]:
    # By identity: comparing two by value is linear in the ranks.
    return list({id(ending): ending for ending in case.ended.values()}.values())


def _ended(case: StepEvidence, endings: list[RankExit]) -> Iterator[Finding]:
    # Only one: srun ends the others because of it.
    for ending in endings:
        silent = silent_ranks(case, ending)
        if silent:
            yield Finding(
                "rank-exited",
                f"{where(silent)}: {ending.reason} (reported by {ending.speaker})",
                _remedy(ending),
                ranks_of(silent),
            )
            return


def _remedy(ending: RankExit) -> str:
    """The catalogue's remedy for srun's message."""
    line = f"srun: error: {ending.node}: task {ending.ranks[0]}: {ending.reason}"
    match = catalogue.load().match(line)
    return match.cause.remedy if match else "check its last lines in the output above"


def silent_ranks(case: StepEvidence, ending: RankExit) -> list[RankHistory]:
    """The ranks of an exit that did not report a cause."""
    return [
        case.histories.get(rank, RankHistory(rank, ending.node))
        for rank in ending.ranks
        if not has_reported_cause(case.histories.get(rank))
    ]


def _is_collateral(ending: RankExit) -> bool:
    return ending.reason.startswith(_COLLATERAL_REASONS)
