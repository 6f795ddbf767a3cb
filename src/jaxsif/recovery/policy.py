"""The decision after an attempt: start again, on which nodes, or end. No input, no output."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from jaxsif.core.attempts_file import Attempt, Cause, Decision, NodeLeftOut
from jaxsif.core.errors import PASS, REQUEUE
from jaxsif.core.text import listed, plural
from jaxsif.recovery.kinds import KINDS, Evidence

# As many attempts without progress end a job.
MAX_WITHOUT_PROGRESS = 3
# An attempt that lasts as long counts as progress if the program does not report any.
LONG_ENOUGH_S = 600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0

# Errors that another start cannot mend.
_USAGE_ERRORS = re.compile(
    r"(?:\w+\.)*(?:SystemExit|SyntaxError|IndentationError|TabError|UsageError"
    r"|ModuleNotFoundError)\b"
)
_EXIT_CODE = re.compile(r"Exited with exit code (\d{1,3})\b")
# A shell's status for a program that a signal ended.
_FIRST_SIGNAL_STATUS = 129


class Situation(Struct, frozen=True, kw_only=True):
    """What is known when an attempt has ended, besides the attempts.

    `nodes` are those of the allocation, in Slurm's order; `failed` has those that Slurm
    calls down, with its reason; `unready` those on which no process could be started, or
    an earlier one still runs; of these `occupied` has those that no attempt may use: a
    process of an earlier attempt lives there, and could not be ended. `needed` is their
    number for one attempt.
    """

    nodes: tuple[str, ...]
    needed: int
    max_restarts: int
    failed: Mapping[str, str] = {}
    unready: Mapping[str, str] = {}
    occupied: frozenset[str] = frozenset()
    may_requeue: bool = False
    # The job got SIGTERM: it is being cancelled, preempted, or its time is up.
    is_interrupted: bool = False
    # Slurm does not respond: what lives on the nodes is not known.
    is_unswept: bool = False
    # Every process of a user's program ended with status 0.
    has_ended_well: bool = False


def first_start(attempts: Sequence[Attempt], now: Situation) -> Decision:
    """The nodes for the first attempt of a run; of a requeued job, after the others."""
    if _failures(attempts) > now.max_restarts:
        return Decision("stop", f"{_restarts(now.max_restarts)} used up")
    reason = "first start" if not attempts else "start after a requeue"
    return _start(attempts, now, {}, reason)


def decide(attempts: Sequence[Attempt], now: Situation) -> Decision:
    """What follows from the last of the attempts, whose own decision is not read.

    A node is left out for good only upon certain evidence, or the second suspicion.
    """
    last = attempts[-1]
    if last.status == PASS:
        return Decision("done", "the program has ended well")
    if now.is_interrupted:
        return Decision("stop", "the job is being ended from outside")
    if last.status == REQUEUE:
        reason = "the program has saved its state and asks for a requeue"
        return Decision("requeue" if now.may_requeue else "stop", reason)
    if now.is_unswept:
        return Decision("stop", "Slurm does not respond: the attempt may still live")
    failed = {n: now.failed[n] for n in last.nodes if n in now.failed}
    evidence = Evidence.NODE if failed else evidence_of(last, now)
    if now.has_ended_well and evidence is not Evidence.NODE:
        # What it does besides would be done twice.
        return Decision("stop", "every process of the program ended with status 0")
    ending = _final_reason(attempts, evidence)
    if ending is not None:
        return Decision("stop", ending, left_out=_nodes_left_out(failed))
    left_out = failed or _left_out(attempts, evidence)
    if evidence is Evidence.SUSPECT and len(_fit(attempts, now, left_out)) < now.needed:
        # A suspicion does not end a job.
        left_out = {}
    ending = _spent_reason(attempts, now)
    if ending is not None:
        return Decision("stop", ending, left_out=_nodes_left_out(left_out))
    pause_s = _pause_s(attempts, now) if evidence is Evidence.NO_NODE else 0.0
    return _start(attempts, now, left_out, _reason(evidence, last, left_out), pause_s)


def evidence_of(attempt: Attempt, now: Situation) -> Evidence:
    """What the cause of an attempt says about a restart."""
    cause = attempt.cause
    if cause is None:
        return Evidence.FINAL
    is_usage = _USAGE_ERRORS.match(cause.error) or _own_status(cause)
    evidence = Evidence.FINAL if is_usage else KINDS.get(cause.kind, Evidence.FINAL)
    # Other ranks may report a lost peer as an exception of their own.
    is_node_away = any(node in now.unready for node in attempt.nodes)
    if is_node_away and evidence in (Evidence.PROGRAM, Evidence.NO_NODE):
        return Evidence.SUSPECT
    if evidence is Evidence.NODE and not _is_part(cause.nodes, attempt.nodes):
        # Everywhere, or nowhere in particular: no reason to leave a node out.
        return Evidence.PROGRAM
    return evidence


def _own_status(cause: Cause) -> bool:
    """Whether the program ended by a status of its own, and not by a signal."""
    code = _EXIT_CODE.search(cause.text) if cause.kind == "rank-exited" else None
    return code is not None and int(code[1]) < _FIRST_SIGNAL_STATUS


def _is_part(named: Collection[str], of: Collection[str]) -> bool:
    return bool(named) and set(named) < set(of)


def _final_reason(attempts: Sequence[Attempt], evidence: Evidence) -> str | None:
    """Why another start cannot help; None if it may."""
    last = attempts[-1]
    if last.cause is None:
        return (
            f"the program ended with status {last.status}, and nothing is known to be"
            " wrong besides"
        )
    if evidence is Evidence.OUTSIDE:
        return f"ended from outside ({last.cause.kind})"
    if evidence is Evidence.FINAL:
        return f"another start would end in the same way ({last.cause.kind})"
    before = attempts[-2].cause if len(attempts) > 1 else None
    if before is None or has_progress(attempts):
        return None
    if evidence is Evidence.PROGRAM and _is_same(before, last.cause):
        return "the same error twice, and no progress between"
    has_moved = set(before.nodes).isdisjoint(last.cause.nodes) and last.cause.nodes
    is_same = (before.kind, before.ranks) == (last.cause.kind, last.cause.ranks)
    if evidence in (Evidence.NODE, Evidence.SUSPECT) and is_same and has_moved:
        return "the same fault of the same ranks on other nodes: no node is the cause"
    return None


def _is_same(before: Cause, cause: Cause) -> bool:
    return (before.kind, before.error) == (cause.kind, cause.error)


def _spent_reason(attempts: Sequence[Attempt], now: Situation) -> str | None:
    """Why no more starts are allowed; None if they are."""
    if _failures(attempts) > now.max_restarts:
        return f"{_restarts(now.max_restarts)} used up"
    tail = attempts_without_progress(attempts)
    if tail >= MAX_WITHOUT_PROGRESS:
        return f"{tail} attempts without progress"
    return None


def _failures(attempts: Sequence[Attempt]) -> int:
    """How many attempts have failed; a requeue that the program asks for is none."""
    return sum(attempt.status not in (PASS, REQUEUE) for attempt in attempts)


def _restarts(count: int) -> str:
    return f"{plural(count, 'restart')} of --max-restarts"


def has_progress(attempts: Sequence[Attempt]) -> bool:
    """Whether the last attempt got further than every one before.

    By the steps that the program reports; else by how long it lasted.
    """
    *earlier, last = attempts
    if last.last_done is None or last.first_done is None:
        has_reported = any(attempt.last_done is not None for attempt in earlier)
        return not has_reported and last.ended - last.started >= LONG_ENOUGH_S
    reached = [
        attempt.last_done for attempt in earlier if attempt.last_done is not None
    ]
    return last.last_done > max(reached, default=last.first_done)


def attempts_without_progress(attempts: Sequence[Attempt]) -> int:
    """How many of the last attempts in a row have kept nothing.

    One that got further kept nothing if its predecessor began at the same step: what lies
    between was not saved.
    """
    count = 0
    for end in range(len(attempts), 0, -1):
        first = attempts[end - 1].first_done
        before = attempts[end - 2].first_done if end > 1 else None
        is_from_same_step = first is not None and first == before
        if has_progress(attempts[:end]) and not is_from_same_step:
            break
        count += 1
    return count


def _left_out(attempts: Sequence[Attempt], evidence: Evidence) -> dict[str, str]:
    """Nodes to leave out from now on, with the reason."""
    last = attempts[-1]
    cause = last.cause
    if cause is None or not _is_part(cause.nodes, last.nodes):
        return {}
    if evidence is Evidence.NODE:
        return dict.fromkeys(cause.nodes, cause.kind)
    if evidence is Evidence.SUSPECT:
        return {
            node: f"{cause.kind}, the second suspicion"
            for node in cause.nodes
            if any(_was_suspected(node, attempt) for attempt in attempts[:-1])
        }
    return {}


def _was_suspected(node: str, attempt: Attempt) -> bool:
    cause = attempt.cause
    return (
        cause is not None
        and KINDS.get(cause.kind) is Evidence.SUSPECT
        and node in cause.nodes
        and _is_part(cause.nodes, attempt.nodes)
    )


def _pause_s(attempts: Sequence[Attempt], now: Situation) -> float:
    """Twice as long for each such end in a row."""
    row = 0
    for attempt in reversed(attempts):
        if evidence_of(attempt, now) is not Evidence.NO_NODE:
            break
        row += 1
    return min(_FIRST_PAUSE_S * 2.0 ** max(0, row - 1), _LONGEST_PAUSE_S)


def _reason(evidence: Evidence, last: Attempt, left_out: Mapping[str, str]) -> str:
    cause = last.cause.kind if last.cause else "no finding"
    if left_out:
        nodes = listed(f"{node} ({why})" for node, why in left_out.items())
        return f"without {nodes}"
    if evidence is Evidence.SUSPECT:
        return f"{cause}: once more on the same nodes, as far as they are ready"
    if evidence is Evidence.NO_NODE:
        return f"{cause}: no node is at fault"
    return f"{cause}: once more, in case it was chance"


def _start(
    attempts: Sequence[Attempt],
    now: Situation,
    left_out: Mapping[str, str],
    reason: str,
    pause_s: float = 0.0,
) -> Decision:
    """Start on the nodes of the last attempt as far as they are fit, then on spares."""
    fit = _fit(attempts, now, left_out)
    before = attempts[-1].nodes if attempts else ()
    order = sorted(fit, key=lambda node: (node in now.unready, node not in before))
    chosen = set(order[: now.needed])
    nodes_left_out = _nodes_left_out(left_out)
    if len(chosen) == now.needed:
        nodes = tuple(node for node in now.nodes if node in chosen)
        return Decision("start", reason, nodes, nodes_left_out, pause_s)
    short = (
        f"{plural(len(fit), 'fit node')} left of {len(now.nodes)}, {now.needed} needed"
    )
    if now.may_requeue:
        return Decision("requeue", short, left_out=nodes_left_out)
    return Decision("stop", short, left_out=nodes_left_out)


def _fit(
    attempts: Sequence[Attempt], now: Situation, left_out: Mapping[str, str]
) -> list[str]:
    """The nodes that are neither left out, nor down, nor occupied."""
    gone = {n.node for a in attempts for n in a.decision.left_out}
    gone |= left_out.keys() | now.failed.keys() | now.occupied
    return [node for node in now.nodes if node not in gone]


def _nodes_left_out(left_out: Mapping[str, str]) -> tuple[NodeLeftOut, ...]:
    return tuple(NodeLeftOut(node, reason) for node, reason in left_out.items())
