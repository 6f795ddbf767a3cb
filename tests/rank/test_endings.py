"""Why ranks ended: the first cause is the verdict, its consequences are folded, and no rank is named for the fault of another."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from sample_records import G8N2P8, healthy, make_record, records, typed

from jaxsif.core.history import JobState
from jaxsif.logs.scanner import scan
from jaxsif.verdict.verdict import Verdict, judge

LATER = ("devices", "allreduce", "identity", "done")


def broken(*, after: str = "connected") -> dict[int, dict[str, dict]]:
    """A job of which no rank came further than one phase."""
    job = healthy()
    for phases in job.values():
        for phase in LATER[LATER.index(after) + 1 :] if after in LATER else LATER:
            del phases[phase]
    return job


def verdict_on(job, *more: dict, said: str = "") -> Verdict:
    """`more` records come after the job's, then what others than ranks have said."""
    job_state = JobState()
    for record in [*records(job), *more]:
        job_state.add(record)
    for line in said.splitlines():
        job_state.add_line(line)
    diagnosis = scan(said.splitlines())
    (verdict,) = judge(job_state, G8N2P8, diagnosis=diagnosis)
    return verdict


def kinds(verdict: Verdict) -> list[str]:
    return [finding.kind for finding in verdict.findings]


TROUBLE = {"kind": "proxy", "text": "a proxy", "remedy": "unset it", "ranks": []}


def test_what_ranks_found_before_the_start_is_one_finding_with_all_of_them():
    said = [
        make_record(r, "failed", f"node{r // 4 + 1}", problems=[TROUBLE])
        for r in (2, 5)
    ]

    verdict = verdict_on(broken(), *said)

    assert "proxy" == verdict.findings[0].kind
    assert "ranks 2 on node1, 5 on node2: a proxy" == verdict.findings[0].text
    assert "unset it" == verdict.findings[0].remedy


def test_a_problem_reported_by_rank_0_about_another_names_only_the_other():
    problem = {**TROUBLE, "text": "different image on rank 5 on node2", "ranks": [5]}

    first = verdict_on(broken(), make_record(0, "failed", problems=[problem])).findings[
        0
    ]

    assert ("different image on rank 5 on node2", (5,)) == (first.text, first.ranks)


def test_the_exception_that_arrived_first_is_the_cause_regardless_of_clocks():
    late_clock = make_record(5, "failed", "node2", error="OSError: disk", time=9e9)

    verdict = verdict_on(
        broken(), late_clock, make_record(0, "failed", error="ValueError: shape")
    )

    assert ["program-failed", "secondary-errors"] == kinds(verdict)[:2]
    assert "rank 5 on node2 ended in an exception: OSError: disk" in (
        verdict.findings[0].text
    )


GLOO = (
    "jax.errors.JaxRuntimeError: UNKNOWN: Gloo all-reduce failed:"
    " [external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]"
)


def test_an_exception_that_only_follows_is_not_the_cause():
    verdict = verdict_on(
        broken(after="devices"),
        make_record(0, "failed", error=GLOO),
        said="srun: error: node1: task 0: Exited with exit code 1\n"
        "srun: error: node2: task 5: Killed\n",
    )

    assert ["rank-exited", "secondary-errors"] == kinds(verdict)[:2]
    assert "rank 5 on node2: Killed (reported by srun)" == verdict.findings[0].text


def test_ranks_at_another_place_are_named_with_their_line():
    verdict = verdict_on(
        broken(after="devices"),
        make_record(
            5,
            "waiting",
            "node2",
            position="after devices",
            source_line="train.py:7 in step",
        ),
        make_record(
            0,
            "deadline_exceeded",
            waited_s=7.0,
            desynchronized=[
                {
                    "position": "in allreduce",
                    "count": 7,
                    "ranks": [0, 1, 2, 3, 4, 6, 7],
                },
                {"position": "after devices", "count": 1, "ranks": [5]},
            ],
        ),
        make_record(1, "failed", error="RuntimeError: the coordinator is gone"),
    )

    assert ["collective-desync", "secondary-errors"] == kinds(verdict)[:2]
    assert (
        "rank 5 on node2: after devices (train.py:7 in step), while 7 other ranks wait"
        " in allreduce" == verdict.findings[0].text
    )


def test_an_expired_deadline_names_the_phase_and_the_line():
    stuck = make_record(
        3,
        "deadline_exceeded",
        missing_phase="done",
        waited_s=120.0,
        source_line="train.py:7 in step",
    )

    verdict = verdict_on(broken(after="identity"), stuck)

    assert "deadline-exceeded" == kinds(verdict)[0]
    assert "rank 3 on node1: no 'done' after 120 s (at train.py:7 in step)" == (
        verdict.findings[0].text
    )


def test_a_rank_that_never_came_is_the_cause_of_the_others_deadline():
    job = broken(after="started")
    del job[5]
    for phases in job.values():
        del phases["connected"]
    stuck = make_record(
        0,
        "deadline_exceeded",
        missing_phase="connected",
        waited_s=120.0,
        source_line="x.py:1 in <module>",
    )

    assert ["rank-missing", "deadline-exceeded"] == kinds(verdict_on(job, stuck))[:2]


CANCELLED = "slurmstepd: error: *** STEP 7.0 ON node1 CANCELLED AT 2026-01-02T03:04:05"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{CANCELLED} DUE TO TIME LIMIT ***", "time limit"),
        (f"{CANCELLED} DUE TO PREEMPTION ***", "preemption"),
        (f"{CANCELLED} ***", "cancelled"),
        (
            "[2026-01-02T03:04:05.678] error: *** STEP 7.0 ON node1 CANCELLED AT"
            " 2026-01-02T03:04:05 DUE to SIGNAL Terminated ***",
            "signal terminated",
        ),
    ],
)
def test_an_end_from_outside_names_no_rank_and_proves_nothing(line, reason):
    verdict = verdict_on(
        broken(),
        make_record(5, "terminated", "node2", position="after devices"),
        said=line,
    )

    assert (3, ["cancelled"]) == (verdict.status, kinds(verdict))
    assert f"Slurm ended the step: {reason}; no rank is the cause" == (
        verdict.findings[0].text
    )


def test_slurms_cancel_for_a_ranks_sake_does_not_hide_the_rank():
    verdict = verdict_on(
        broken(),
        said="srun: error: node2: task 5: Exited with exit code 9\n"
        f"srun: Terminating StepId=7.0\n{CANCELLED} ***",
    )

    assert (1, "rank-exited") == (verdict.status, kinds(verdict)[0])
    assert "rank 5 on node2" in verdict.findings[0].text


def test_a_sigterm_without_any_other_word_is_no_pass():
    said = [make_record(r, "terminated", f"node{r // 4 + 1}") for r in range(8)]

    verdict = verdict_on(broken(), *said)

    assert (3, ["terminated"]) == (verdict.status, kinds(verdict))


def test_a_line_of_another_program_names_the_cause_and_srun_the_ranks():
    verdict = verdict_on(
        broken(),
        said="F1121 04:47:52.8 7962 parse_flags_from_env.cc:234] Unknown flag in"
        " XLA_FLAGS: --xla_no_such=1\n"
        "srun: error: node1: tasks 0-3: Exited with exit code 1\n",
    )

    assert "xla-unknown-flag" == kinds(verdict)[0]
    assert "ranks 0-3 on node1" in verdict.findings[0].text
    assert "--xla_no_such=1" in verdict.findings[0].text


def test_such_a_line_in_a_job_that_is_well_means_nothing():
    verdict = verdict_on(healthy(), said="OSError: [Errno 28] No space left on device")

    assert (0, ()) == (verdict.status, verdict.findings)


def test_a_rank_that_did_not_end_is_never_a_pass():
    job = healthy()
    del job[3]["done"]
    for phases in job.values():
        phases["terminated"] = make_record(phases["started"]["rank"], "terminated")
    # As if every reason had been removed.
    job_state = JobState()
    for record in records(job):
        job_state.add(record)

    assert 0 != judge(job_state, G8N2P8)[0].status


def test_programs_that_srun_did_not_number_are_independent_runs():
    job_state = JobState()
    for _ in range(8):
        for phase, record in healthy()[0].items():
            more = {"processes": 1} if phase == "started" else {}
            job_state.add(typed({**record, **more}))

    (verdict,) = judge(job_state, G8N2P8)

    assert "independent-processes" == kinds(verdict)[0]
    assert "rank 0 on node1 started 8 times, each time as the only process" in (
        verdict.findings[0].text
    )


def test_a_stopped_rank_that_gets_the_sigterm_of_the_end_is_not_excused():
    verdict = verdict_on(
        broken(after="devices"),
        make_record(5, "terminated", "node2", position="in allreduce"),
        said="F1121 04:53:05.0 1 client.h:86] Terminating process because the JAX"
        " distributed service detected fatal errors. absl::Status: UNAVAILABLE: The"
        " following tasks are unhealthy (stopped sending heartbeats):\n5\n"
        "srun: error: node1: tasks 0-3: Aborted\nsrun: error: node2: task 5: Bus error",
    )

    assert "jax-heartbeat-lost" == kinds(verdict)[0]
    assert "rank 5" in verdict.findings[0].text
    assert "stopped sending heartbeats" in verdict.findings[0].text


def test_wrong_numbers_come_before_the_ranks_that_srun_ended_for_their_sake():
    job = healthy()
    for rank in range(7):
        job[rank]["identity"].update(foreign_count=1, foreign_slots=[[7, 0]])
    del job[7]["done"]

    verdict = verdict_on(job, said="srun: error: node2: task 7: Terminated")

    assert "foreign-peer" == kinds(verdict)[0]


def test_devices_that_were_not_reported_are_no_pass():
    job = healthy()
    for phases in job.values():
        del phases["devices"]
        phases["connected"]["peers_verified"] = True

    verdict = verdict_on(job)

    assert (3, ["devices-not-reported"]) == (verdict.status, kinds(verdict))


def test_a_rank_that_ended_without_a_word_gets_the_remedy_of_the_catalogue():
    verdict = verdict_on(broken(), said="srun: error: node2: task 5: Killed")

    assert "oom_kill" in verdict.findings[0].remedy


NODE_FAILURE = (
    "srun: error: Node failure on node2\n"
    "srun: Job step aborted: Waiting up to 7 seconds for job step to finish.\n"
    "[2026-11-29T21:31:00.019] error: *** JOB 6 ON node1 CANCELLED AT"
    " 2026-11-29T21:31:00 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***\n"
    "srun: forcing job termination\n"
    "srun: error: node1: tasks 0-3: Terminated\n"
)


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_node_that_slurm_has_given_up_is_named_with_its_ranks(is_interrupted):
    job_state = JobState(nodes=["node1", "node2"])
    for rank in range(4):
        job_state.add(typed(healthy()[rank]["started"]))
    if is_interrupted:
        job_state.interrupt("SIGTERM")
    for line in NODE_FAILURE.splitlines():
        job_state.add_line(line)
    for rank in range(4):
        job_state.add(make_record(rank, "terminated", waited_s=1.0))

    (verdict,) = judge(job_state, G8N2P8, diagnosis=scan(NODE_FAILURE.splitlines()))

    assert (1, "slurm-node-failed") == (verdict.status, verdict.findings[0].kind)
    assert (4, 5, 6, 7) == verdict.findings[0].ranks
    assert {"cancelled", "terminated", "rank-exited"}.isdisjoint(kinds(verdict))
    assert 1 == kinds(verdict).count("slurm-node-failed")


def test_a_node_of_another_job_has_not_failed():
    job_state = JobState(nodes=["node1", "node2"])
    job_state.add_line("srun: error: Node failure on node77")

    assert () == job_state.failed_nodes


LOST = (
    "F1121 04:28:50.715247    3088 client.h:86] Terminating process because the JAX"
    " distributed service detected fatal errors. absl::Status: UNAVAILABLE: The following"
    " tasks are unhealthy (stopped sending heartbeats):\n2\n"
    "srun: error: node1: task 0: Aborted\n"
    "srun: Terminating StepId=7.0\n"
    "srun: error: node1: tasks 1,3: Aborted\n"
    "srun: error: node2: tasks 4-7: Aborted\n"
)


def test_a_rank_that_left_with_status_0_is_the_first_cause():
    verdict = verdict_on(broken(after="devices"), said=LOST)

    assert ("rank-left", (2,)) == (kinds(verdict)[0], verdict.findings[0].ranks)
    assert "rank-exited" not in kinds(verdict)


def test_exceptions_of_the_others_do_not_hide_who_left():
    failed = [
        make_record(r, "failed", f"node{r // 4 + 1}", error=GLOO)
        for r in range(8)
        if r != 2
    ]
    said = "srun: error: node1: tasks 0-1,3: Exited with exit code 1\n"

    assert "rank-left" == kinds(verdict_on(broken(), *failed, said=said))[0]


@pytest.mark.parametrize(
    "said",
    [
        # srun was ended itself: it did not say of every task how it ended.
        "srun: error: node1: task 0: Aborted\n",
        "",
    ],
)
def test_who_is_merely_not_named_has_not_left(said):
    assert "rank-left" not in kinds(verdict_on(broken(), said=said))


def test_what_follows_is_no_statement_on_rank_0():
    said = (
        "F1121 04:28:53.500122    3414 client.h:86] absl::Status: UNAVAILABLE: Failed to"
        " send RPC to coordination service. Either the leader task was"
        " preempted/died/restarted unexpectedly\n"
        "srun: error: node2: task 5: Killed\n"
    )

    verdict = verdict_on(broken(), said=said)

    assert "rank 5 on node2: Killed" in verdict.findings[0].text
    assert [] == [f.text for f in verdict.findings if "died" in f.text]


def test_a_launcher_that_does_not_end_after_all_are_done_is_a_failure():
    job_state = JobState()
    for record in records(healthy()):
        job_state.add(record)
    job_state.has_ended_launcher = job_state.has_launcher_hung = True

    (verdict,) = judge(job_state, G8N2P8)

    assert (1, ["launcher-hangs"]) == (verdict.status, kinds(verdict))
