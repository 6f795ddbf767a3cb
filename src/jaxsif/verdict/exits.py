"""Why ranks did not come to their end: by their own words, by Slurm's, by the log's; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxsif.core.evidence import Case, Finding
from jaxsif.core.history import Ending, Story
from jaxsif.core.naming import by_arrival, numbers_of, spans, where
from jaxsif.core.records import FAILED, STUCK, TERMINATED, WAITING
from jaxsif.logs import catalogue

_BY_SIGTERM = ("Terminated", "Exited with exit code 143")
# Ends that a rank brings upon itself for another's sake: JAX aborts when a peer is gone,
# srun terminates the rest, and takes away the image that they run from.
_ENDS_FOR_ANOTHER = ("Aborted", "Bus error", *_BY_SIGTERM)


_FEW = 8
# Told by a check of its own, with the ranks of the node.
_NODE_FAILED = "slurm-node-failed"


def has_told_why(story: Story | None) -> bool:
    """Whether a rank said itself why it ended."""
    return story is not None and (
        not {FAILED, STUCK, TERMINATED}.isdisjoint(story.told)
        or bool(story.fact("allreduce", "wrong") or story.fact("identity", "foreign"))
        or any(record.get("wrong") for record in story.measured)
        or has_waited_in_vain(story)
    )


def has_waited_in_vain(story: Story) -> bool:
    """Whether a rank gave up because the other node of its pair did not answer."""
    return any(record.get("timed_out") for record in story.measured)


def starts_failed(case: Case) -> Iterator[Finding]:
    """What a rank found wrong before it could begin."""
    by_trouble: dict[tuple[str, str, str], list[Story]] = defaultdict(list)
    accused: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for story in by_arrival(case.stories.values(), FAILED):
        for trouble in story.fact(FAILED, "troubles") or ():
            key = (trouble["kind"], trouble["text"], trouble["remedy"])
            by_trouble[key].append(story)
            accused[key] = tuple(trouble.get("ranks") or ())
    for key, group in by_trouble.items():
        kind, text, remedy = key
        # What rank 0 says of others names them itself.
        named = text if accused[key] else f"{where(group)}: {text}"
        yield Finding(kind, named, remedy, accused[key] or numbers_of(group))


def ranks_left(case: Case) -> Iterator[Finding]:
    """Ranks that ended with status 0 before they were done, as by `os._exit(0)`.

    The launcher says of every other end how it was: who is neither done nor named by
    anybody, while all others are, has left without a word.
    """
    stories = case.stories
    if (
        case.end_from_outside
        or case.has_ended_launcher
        or not case.ended
        or case.silent
    ):
        return
    is_whole = len(stories) == case.topology.processes
    left = [
        story
        for story in stories.values()
        if not (story.is_done or story.rank in case.ended or has_told_why(story))
    ]
    # Of many, the launcher's words may have been lost.
    if is_whole and 0 < len(left) <= max(1, len(stories) // _FEW):
        yield Finding(
            "rank-left",
            f"{where(left)} left with status 0 before the others were done; the last"
            f" phase told was {left[0].phase!r}",
            "look for os._exit(0), or a wrapper that hides a status; a program ends by"
            " itself when all ranks have passed their last collective",
            numbers_of(left),
        )


def programs_failed(case: Case) -> Iterator[Finding]:
    """An exception in a rank's program: the first, unless it follows from another end."""
    for error, failed in list(_errors(case).items())[:1]:
        if not _follows(case, error, failed[0]):
            yield Finding(
                "program-failed",
                f"{where(failed)} ended in an exception: {error}",
                "its traceback is in the output above",
                numbers_of(failed),
            )


def errors_after(case: Case) -> Iterator[Finding]:
    """The exceptions of other ranks, in one line."""
    errors = list(_errors(case).items())
    if errors and not _follows(case, errors[0][0], errors[0][1][0]):
        del errors[0]
    later = {story.rank: story for _, failed in errors for story in failed}
    if later:
        group = [later[rank] for rank in sorted(later)]
        yield Finding(
            "errors-after",
            f"{where(group)} ended in exceptions after that: {errors[0][0]}",
            "mend the first cause; their own words are in the output above",
            numbers_of(group),
        )


def _errors(case: Case) -> dict[str, list[Story]]:
    """The ranks by their exception, true causes first and then the first heard."""
    by_error: dict[str, list[Story]] = defaultdict(list)
    for story in by_arrival(case.stories.values(), FAILED):
        error = story.fact(FAILED, "error")
        if error is not None:
            by_error[str(error)].append(story)
    order = sorted(by_error.items(), key=lambda e: _follows(case, e[0], e[1][0]))
    return dict(order)


def _follows(case: Case, error: str, first: Story) -> bool:
    """Whether an exception was brought about by the end of another rank."""
    stuck = [s.heard[STUCK] for s in case.stories.values() if STUCK in s.told]
    match = catalogue.load().match(error)
    is_consequence = match is not None and match.cause.standing != "cause"
    return is_consequence or first.heard[FAILED] > min(stuck, default=math.inf)


def causes_recognised(case: Case) -> Iterator[Finding]:
    """Why something ended, by lines that programs other than the kit have printed."""
    yield from _recognised(case, "cause")


def symptoms_recognised(case: Case) -> Iterator[Finding]:
    """That something ended, by such lines, while the reason stands elsewhere."""
    yield from _recognised(case, "symptom")


def _recognised(case: Case, standing: str) -> Iterator[Finding]:
    if not case.is_broken or case.end_from_outside:
        return
    for found in case.recognised:
        if found.standing != standing or found.cause.ending:
            continue
        if found.cause.id == _NODE_FAILED and case.failed_nodes:
            continue
        # What a rank prints for people it has told the judge as well.
        if found.cause.id.startswith("kit-") and _have_told(case, found.ranks):
            continue
        text, ranks = found.text, found.ranks
        # A line without a name is most likely about the first who ended.
        if not ranks and not found.nodes and case.ended:
            ending = next(iter(case.ended.values()))
            group = [case.stories.get(r, Story(r, ending.node)) for r in ending.ranks]
            text, ranks = f"{where(group)}: {text}", ending.ranks
        yield Finding(found.cause.id, text, found.cause.remedy, ranks)


def nodes_failed(case: Case) -> Iterator[Finding]:
    """Nodes that Slurm has given up."""
    index_of = {node: index for index, node in enumerate(case.all_nodes)}
    for node in case.failed_nodes:
        ranks = [story.rank for story in case.stories.values() if story.node == node]
        if not ranks and node in index_of:
            per_node = case.topology.processes_per_node
            first = index_of[node] * per_node
            expected = range(first, first + per_node)
            ranks = [rank for rank in expected if rank not in case.stories]
        on_it = f" (ranks {spans(ranks)})" if ranks else ""
        yield Finding(
            _NODE_FAILED,
            f"{node}{on_it} failed or stopped answering Slurm",
            "submit again, without that node (--exclude), and tell the operators",
            tuple(ranks),
        )


def cancelled(case: Case) -> Iterator[Finding]:
    """Somebody ended the step from outside: no rank is to blame, nothing is proven."""
    if case.end_from_outside:
        yield Finding(
            "cancelled",
            f"{case.end_from_outside}; no rank is to blame",
            "see what the ranks had reached in the table above; for a time limit, ask for"
            " more with --time",
            is_failure=False,
        )


def terminated(case: Case) -> Iterator[Finding]:
    """SIGTERM came to ranks, and nobody knows of a reason in the step itself."""
    group = by_arrival(case.stories.values(), TERMINATED)
    has_reason = any(
        not {FAILED, STUCK}.isdisjoint(s.told) or has_waited_in_vain(s)
        for s in case.stories.values()
    )
    has_reason |= bool(case.silent or case.failed_nodes)
    others = any(not e.reason.startswith(_BY_SIGTERM) for e in case.ended.values())
    if group and not has_reason and not others and not case.end_from_outside:
        yield Finding(
            "terminated",
            f"{where(group)} got SIGTERM from outside; no rank is to blame",
            "a preemption, or somebody's order; see what the ranks had reached in the"
            " table above",
            numbers_of(group),
            is_failure=False,
        )


def ranks_apart(case: Case) -> Iterator[Finding]:
    """Ranks that wait for each other at different places of the program."""
    for story in by_arrival(case.stories.values(), STUCK)[:1]:
        places: list[Mapping[str, Any]] = story.fact(STUCK, "apart") or []
        if len(places) < 2:
            return
        crowd = max(places, key=lambda place: place["count"])
        for place in places:
            if place is not crowd:
                yield _apart(case, place, crowd)


def _apart(case: Case, place: Mapping[str, Any], crowd: Mapping[str, Any]) -> Finding:
    few = [case.stories[rank] for rank in place["ranks"] if rank in case.stories]
    lines = {str(s.fact(WAITING, "line")) for s in few if s.fact(WAITING, "line")}
    at = f" ({', '.join(sorted(lines)[:2])})" if lines else ""
    return Finding(
        "out-of-step",
        f"{where(few)}: {place['place']}{at}, while {crowd['count']} other ranks wait"
        f" {crowd['place']}",
        "all ranks must call the same collectives in the same order: look at that line",
        numbers_of(few),
    )


def ranks_stuck(case: Case) -> Iterator[Finding]:
    """Ranks whose deadline expired."""
    by_place: dict[tuple[str, str], list[Story]] = defaultdict(list)
    for story in by_arrival(case.stories.values(), STUCK):
        if story.fact(STUCK, "apart") is None:
            missing, line = story.fact(STUCK, "missing"), story.fact(STUCK, "line")
            by_place[str(missing), str(line)].append(story)
    for (missing, line), group in by_place.items():
        yield Finding(
            "no-progress",
            f"{where(group)}: no {missing!r} after {group[0].fact(STUCK, 'for_s'):.0f} s"
            f" (at {line})",
            "its stacks are in the output above; JAX_SIF_DEADLINE_S gives more time",
            numbers_of(group),
        )


def _have_told(case: Case, ranks: Sequence[int]) -> bool:
    return bool(ranks) and all(has_told_why(case.stories.get(rank)) for rank in ranks)


def ranks_ended(case: Case) -> Iterator[Finding]:
    """A rank that ended badly, by srun's own word, and did not say why itself."""
    yield from _ended(case, [e for e in _endings(case) if not _is_for_another(e)])


def ranks_ended_for_others(case: Case) -> Iterator[Finding]:
    """Ranks that ended for another's sake, where nobody knows of another."""
    is_known = bool(case.silent or case.failed_nodes) or any(
        not {FAILED, STUCK}.isdisjoint(story.told) for story in case.stories.values()
    )
    own = (e for e in _endings(case) if not _is_for_another(e))
    if (
        not is_known
        and not any(ranks_left(case))
        and not any(silent_ranks(case, ending) for ending in own)
    ):
        yield from _ended(case, _endings(case))


def _endings(case: Case) -> list[Ending]:
    # By identity: to compare two by their ranks takes as long as there are ranks.
    return list({id(ending): ending for ending in case.ended.values()}.values())


def _ended(case: Case, endings: list[Ending]) -> Iterator[Finding]:
    # One alone: srun ends the others for its sake.
    for ending in endings:
        silent = silent_ranks(case, ending)
        if silent:
            yield Finding(
                "rank-ended",
                f"{where(silent)}: {ending.reason}, says {ending.speaker}",
                _remedy(ending),
                numbers_of(silent),
            )
            return


def _remedy(ending: Ending) -> str:
    """What the catalogue of causes advises for the words of srun."""
    line = f"srun: error: {ending.node}: task {ending.ranks[0]}: {ending.reason}"
    match = catalogue.load().match(line)
    return match.cause.remedy if match else "look at its last lines in the output above"


def silent_ranks(case: Case, ending: Ending) -> list[Story]:
    """The ranks of an end that did not say why they ended."""
    return [
        case.stories.get(rank, Story(rank, ending.node))
        for rank in ending.ranks
        if not has_told_why(case.stories.get(rank))
    ]


def _is_for_another(ending: Ending) -> bool:
    return ending.reason.startswith(_ENDS_FOR_ANOTHER)
