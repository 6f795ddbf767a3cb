"""Who stopped reporting before the group was formed: named when all others go on, and in no other case."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace
from sample_records import G8N2P8, make_record

from jaxsif.core.history import JobState
from jaxsif.core.records import Record
from jaxsif.rank.watchdog import diagnostic_limits, program_limits
from jaxsif.verdict.verdict import Verdict, judge

MAY_MISS, MAY_MISS_IMPORTING = 3, 8


def node(rank: int) -> str:
    return f"node{rank // 4 + 1}"


def started(rank: int, may_miss: list[int] | None = None) -> Record:
    may_miss = may_miss or [MAY_MISS, MAY_MISS_IMPORTING]
    return make_record(rank, "started", node(rank), may_miss=may_miss)


def report(rank: int) -> Record:
    position = "after started"
    return make_record(rank, "waiting", node(rank), position=position, waited_s=1.0)


def rounds(
    job_state: JobState, count: int, silent=(), ranks=range(8), order=None
) -> None:
    """Every rank reports once a round, but for the silent ones."""
    for _ in range(count):
        alive = [rank for rank in ranks if rank not in silent]
        if order:
            order.shuffle(alive)
        for rank in alive:
            job_state.add(report(rank))


@pytest.fixture
def job_state() -> JobState:
    job_state = JobState()
    for rank in range(8):
        job_state.add(started(rank))
    return job_state


def found(job_state: JobState) -> frozenset[int]:
    return job_state.silent("box.7.0")


def verdict_on(job_state: JobState) -> Verdict:
    (verdict,) = judge(job_state, G8N2P8)
    return verdict


@pytest.mark.parametrize("silent", [{5}, {0}, {7}, {4, 5, 6, 7}, {1, 6}])
def test_a_silent_rank_is_named_first_while_all_others_go_on(job_state, silent):
    rounds(job_state, MAY_MISS + 1, silent)

    first = verdict_on(job_state).findings[0]

    assert (silent, "rank-silent") == (found(job_state), first.kind)
    assert tuple(sorted(silent)) == first.ranks
    assert job_state.has_silent_rank


def test_a_node_of_which_no_rank_reports_is_named(job_state):
    rounds(job_state, MAY_MISS + 1, {4, 5, 6, 7})

    assert "no rank of node2 reports" in verdict_on(job_state).findings[0].text


def test_what_ends_because_the_step_was_ended_is_not_the_first_cause(job_state):
    rounds(job_state, MAY_MISS + 1, {5})
    for rank in range(4):
        job_state.add(
            make_record(rank, "terminated", waited_s=9.0, position="after started")
        )
    job_state.add_line("srun: error: node2: task 5: Terminated")
    job_state.add_line("srun: error: node1: tasks 0-3: Exited with exit code 143")

    verdict = verdict_on(job_state)

    assert (1, "rank-silent") == (verdict.status, verdict.findings[0].kind)
    named = {r for f in verdict.findings if f.kind == "rank-exited" for r in f.ranks}
    assert set() == named


def test_fewer_reports_than_allowed_name_no_rank(job_state):
    rounds(job_state, MAY_MISS - 1, {5})

    assert frozenset() == found(job_state)


@pytest.mark.parametrize("seed", range(20))
def test_ranks_that_all_report_are_never_named_in_whatever_order(job_state, seed):
    order = random.Random(seed)
    rounds(job_state, 60, order=order)

    assert frozenset() == found(job_state)


def test_a_job_that_was_suspended_goes_on(job_state):
    """However long: nothing was read meanwhile, and each rank reports when it wakes."""
    for rank in (0, 1, 2, 3, 4, 6, 7, 5):
        job_state.add(report(rank))
    rounds(job_state, 10, order=random.Random(1))

    assert frozenset() == found(job_state)


def test_while_a_rank_has_not_started_no_rank_is_named():
    job_state = JobState()
    for rank in range(7):
        job_state.add(started(rank))
    rounds(job_state, 50, {5}, range(7))

    assert frozenset() == found(job_state)


def test_an_import_of_jax_has_a_limit_of_its_own(job_state):
    job_state.add(make_record(5, "importing", "node2", is_over=False))
    rounds(job_state, MAY_MISS_IMPORTING - 1, {5})
    assert frozenset() == found(job_state)

    rounds(job_state, 2, {5})

    assert {5} == found(job_state)
    assert "import JAX" in verdict_on(job_state).findings[0].text


def test_after_the_import_the_usual_limit_holds(job_state):
    job_state.add(make_record(5, "importing", "node2", is_over=False))
    job_state.add(make_record(5, "importing", "node2", is_over=True))
    rounds(job_state, MAY_MISS + 1, {5})

    assert {5} == found(job_state)


@pytest.mark.parametrize(
    "record",
    [
        make_record(0, "connected"),
        make_record(0, "failed", error="OSError: disk"),
        make_record(0, "terminated", waited_s=1.0),
        make_record(0, "deadline_exceeded", waited_s=120.0, missing_phase="connected"),
    ],
    ids=lambda record: record.phase,
)
def test_a_group_that_is_formed_or_ends_is_left_to_others(job_state, record):
    job_state.add(record)
    rounds(job_state, 50, {5})

    assert frozenset() == found(job_state)


def test_a_job_ended_from_outside_has_no_silent_rank(job_state):
    job_state.interrupt("SIGTERM")
    rounds(job_state, 50, {5})

    assert frozenset() == found(job_state)


def test_without_a_watchdog_there_are_no_reports_and_no_suspicion():
    job_state = JobState()
    for rank in range(8):
        job_state.add(replace(started(rank), may_miss=None))
    rounds(job_state, 50, {5})

    assert frozenset() == found(job_state)


def test_a_restart_begins_anew(job_state):
    rounds(job_state, MAY_MISS - 1, {5})
    for rank in range(8):
        job_state.add(replace(started(rank), step="box.7.0.1"))
    for _ in range(MAY_MISS - 1):
        for rank in (0, 1, 2, 3, 4, 6, 7):
            job_state.add(replace(report(rank), step="box.7.0.1"))

    assert frozenset() == found(job_state)


@pytest.mark.parametrize("limits", [diagnostic_limits, program_limits])
@pytest.mark.parametrize("processes", [2, 8, 1000, 10_000])
def test_a_rank_may_be_silent_as_long_as_heartbeats_may_and_reports_are_bounded(
    limits, processes
):
    of = limits({}, processes)
    few, importing = of.may_miss()

    # Of another rank, so many reports take one interval less.
    assert (few - 1) * of.reporting_s >= of.heartbeat_s
    assert (importing - 1) * of.reporting_s >= 60
    assert processes / of.reporting_s <= 500


def test_a_diagnostic_of_8_ranks_is_named_within_8_seconds():
    limits = diagnostic_limits({}, 8)

    assert limits.may_miss()[0] * limits.reporting_s < 8
    assert limits.may_miss()[0] * program_limits({}, 8).reporting_s < 40


def test_no_watchdog_no_limit():
    assert diagnostic_limits({"JAX_SIF_WATCHDOG": "off"}, 8).may_miss() is None


def test_looking_takes_time_with_the_ranks_and_not_with_their_square():
    counts = []
    for ranks in (500, 1000):
        job_state = JobState()
        for rank in range(ranks):
            job_state.add(replace(started(0), rank=rank, processes=ranks))
        looks = 0
        silence = job_state._silences["box.7.0"]
        look = silence._look

        def counted(look=look):
            nonlocal looks
            looks += 1
            look()

        silence._look = counted
        rounds(job_state, 10, ranks=range(ranks))
        counts.append(looks)

    assert max(counts) <= 22
