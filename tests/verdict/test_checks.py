"""The checks: each spoiled job gives its finding, with the ranks and nodes named."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable

import pytest
from sample_records import G8N2P8, healthy, make_record, records

from jaxsif.bandwidth import checks as bandwidth_checks
from jaxsif.core.evidence import StepEvidence
from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.hang import checks as hang_checks
from jaxsif.pairs import checks as pairs_checks
from jaxsif.transport import checks as transport_checks
from jaxsif.verdict import checks, exits, processes
from jaxsif.verdict import correctness as numbers
from jaxsif.verdict.verdict import Verdict, judge

Job = dict[int, dict[str, dict]]


def verdict_on(job: Job, topology=G8N2P8, damaged: int = 0) -> Verdict:
    job_state = JobState()
    for record in records(job):
        job_state.add(record)
    (verdict,) = judge(job_state, topology, damaged)
    return verdict


def set_fact(job: Job, ranks, phase: str, **facts) -> None:
    for rank in ranks:
        job[rank][phase].update(facts)


@pytest.mark.parametrize("label", ["G1N1p1", "G4N1p4", "G4N2p2", "G8N2p8", "G64N8p16"])
def test_a_healthy_job_passes_without_findings(label):
    topology = parse_topology(label)

    verdict = verdict_on(healthy(topology), topology)

    assert (verdict.status, verdict.findings) == (0, ())


def _rank_5_missing(job: Job) -> None:
    del job[5]


def _rank_5_raised(job: Job) -> None:
    for phase in ("devices", "allreduce", "identity", "done"):
        del job[5][phase]
    job[5]["failed"] = make_record(5, "failed", "node2", error="RuntimeError: boom")


def _six_processes(job: Job) -> None:
    del job[6], job[7]
    set_fact(job, range(6), "started", processes=6)


def _sixteen_processes(job: Job) -> None:
    job |= {
        r: phases for r, phases in healthy(parse_topology("G16N4p16")).items() if r > 7
    }
    set_fact(job, range(16), "started", processes=16)


def _alone(job: Job) -> None:
    set_fact(job, range(8), "connected", process_count=1, process_index=0)


def _cpu(job: Job) -> None:
    set_fact(job, [2, 3], "devices", backend="cpu")


def _gpu_twice(job: Job) -> None:
    set_fact(
        job, [6], "devices", local_devices=[{"id": 6, "kind": "A100", "uuid": "GPU-7"}]
    )


def _two_local_devices(job: Job) -> None:
    local = [{"id": i, "kind": "A100", "uuid": f"GPU-{i}"} for i in (4, 40)]
    set_fact(job, [4], "devices", local_devices=local, local_count=2)


def _four_in_all(job: Job) -> None:
    set_fact(job, [4, 5, 6, 7], "devices", total=4)


def _other_image(job: Job) -> None:
    set_fact(job, [4, 5], "started", image="def")


def _other_jax(job: Job) -> None:
    set_fact(job, [7], "connected", jax="0.9")


def _other_nccl(job: Job) -> None:
    set_fact(job, [7], "devices", nccl="2.18.1")


def _wrong_sum(job: Job) -> None:
    set_fact(job, [3], "allreduce", sum=7.0, wrong_elements=1)


def _foreign(job: Job) -> None:
    set_fact(job, range(8), "identity", foreign_count=1, foreign_slots=[[5, 0]])


def _swapped(job: Job) -> None:
    set_fact(job, [1], "connected", process_index=2)


def _unfinished(job: Job) -> None:
    for phase in ("identity", "done"):
        del job[6][phase]


def _crowded(job: Job) -> None:
    for record in job[4].values():
        record["node"] = "node1"


def _devices_untold(job: Job) -> None:
    for phases in job.values():
        del phases["devices"]


SPOILERS = [
    _devices_untold,
    _rank_5_missing,
    _rank_5_raised,
    _six_processes,
    _sixteen_processes,
    _alone,
    _cpu,
    _gpu_twice,
    _two_local_devices,
    _four_in_all,
    _other_image,
    _other_jax,
    _other_nccl,
    _wrong_sum,
    _foreign,
    _swapped,
    _unfinished,
    _crowded,
]


@pytest.mark.parametrize(
    ("spoil", "kind", "named"),
    [
        (
            _rank_5_missing,
            "rank-missing",
            "1 of 8 ranks never reported: rank 5 on node2",
        ),
        (_rank_5_raised, "program-failed", "rank 5 on node2 ended in an exception"),
        (_six_processes, "process-count", "the step has 6 processes"),
        (
            _six_processes,
            "rank-missing",
            "2 of 8 ranks never reported: ranks 6-7 on node2",
        ),
        (_sixteen_processes, "process-count", "the step has 16 processes"),
        (_alone, "independent-processes", "ranks 0-3 on node1, 4-7 on node2"),
        (_cpu, "platform", "ranks 2-3 on node1: JAX runs on cpu, gpu was requested"),
        (_gpu_twice, "device-shared", "ranks 6-7 on node2: the same GPU GPU-7"),
        (_two_local_devices, "local-devices", "rank 4 on node2: 2 local devices, 1"),
        (_four_in_all, "total-devices", "ranks 4-7 on node2: 4 devices in all"),
        (_other_image, "image-differs", "ranks 4-5 on node2: image def"),
        (_other_jax, "jax-differs", "rank 7 on node2: JAX 0.9"),
        (_other_nccl, "nccl-differs", "rank 7 on node2: NCCL 2.18.1"),
        (_wrong_sum, "wrong-sum", "rank 3 on node1: the all-reduce of ones gave 7"),
        (_foreign, "foreign-peer", "in the slot of rank 5 on node2"),
        (_swapped, "rank-mismatch", "rank 1 on node1"),
        (_unfinished, "rank-incomplete", "rank 6 on node2 did not finish"),
        (_crowded, "node-count", "5 on node1, 3 on node2"),
    ],
)
def test_each_fault_fails_and_names_rank_and_node(
    spoil: Callable[[Job], None], kind: str, named: str
):
    job = healthy()
    spoil(job)

    verdict = verdict_on(job)

    texts = {finding.kind: finding.text for finding in verdict.findings}
    assert verdict.status == 1
    assert named in texts[kind]


def _with_lines(job: Job, *lines: str, nodes=()) -> Verdict:
    job_state = JobState()
    for record in records(job):
        job_state.add(record)
    for line in lines:
        job_state.add_line(line)
    (verdict,) = judge(job_state, G8N2P8, nodes=nodes)
    return verdict


def test_the_first_rank_to_end_by_sruns_word_is_the_cause():
    job = healthy()
    for rank in job:
        job[rank] = {"started": job[rank]["started"]}
    verdict = _with_lines(
        job,
        "srun: error: node2: task 7: Exited with exit code 9\n",
        "srun: error: node1: tasks 0,2-3: Terminated\n",
        "srun: error: node1: task 1: Exited with exit code 1\n",
    )

    assert 1 == verdict.status
    assert ["rank-exited", "rank-incomplete"] == [f.kind for f in verdict.findings]
    assert "rank 7 on node2: Exited with exit code 9" in verdict.findings[0].text


def test_a_rank_that_ends_badly_after_it_was_done_is_no_pass():
    verdict = _with_lines(healthy(), "srun: error: node1: task 3: Segmentation fault\n")

    assert 1 == verdict.status
    assert "rank 3 on node1: Segmentation fault" in verdict.findings[0].text


def test_when_no_rank_spoke_srun_and_the_job_still_name_them():
    verdict = _with_lines({}, "srun: error: b: task 7: Killed\n", nodes=["a", "b"])

    assert 1 == verdict.status
    assert "rank 7 on b: Killed" in verdict.findings[0].text
    assert "ranks 0-3 on a, 4-7 on b" in verdict.findings[1].text


def test_a_rank_that_reported_its_failure_is_named_once():
    job = healthy()
    _rank_5_raised(job)
    verdict = _with_lines(job, "srun: error: node2: task 5: Exited with exit code 1\n")

    assert ["program-failed"] == [f.kind for f in verdict.findings]


@pytest.mark.parametrize("numbers", ["9-", "1-99999999", ",", "-"])
def test_lines_that_srun_did_not_print_are_ignored(numbers):
    assert (0, ()) == (
        (v := _with_lines(healthy(), f"srun: error: n: tasks {numbers}: x\n")).status,
        v.findings,
    )


def test_a_second_program_cannot_hide_the_wrong_numbers_of_the_first():
    first, second = healthy(), healthy()
    _wrong_sum(first)
    job_state = JobState()
    for record in records(first) + records(second):
        job_state.add(record)
    (verdict,) = judge(job_state, G8N2P8)

    assert 1 == verdict.status
    assert ["duplicate-rank"] == [f.kind for f in verdict.findings]
    assert "ranks 0-3 on node1, 4-7 on node2" in verdict.findings[0].text


# Provoked by tests of their own, above and below, in test_endings.py, test_transport.py,
# test_links.py and test_speed.py.
SILENT_HERE = {
    # tests/hang: it needs the observers' reports.
    hang_checks.group_hangs,
    processes.ranks_silent,
    processes.launcher_hangs,
    exits.nodes_failed,
    exits.ranks_left,
    numbers.peers_not_verified,
    # In test_record_facts.py.
    numbers.records_lost,
    processes.duplicate_ranks,
    exits.starts_failed,
    exits.cancelled,
    exits.terminated,
    exits.desynchronized_ranks,
    exits.log_causes,
    exits.ranks_ended,
    exits.log_symptoms,
    exits.ranks_terminated_by_launcher,
    exits.deadlines_exceeded,
    exits.secondary_errors,
    transport_checks.network_not_used,
    transport_checks.network_differs,
    transport_checks.nvlink_missing,
    transport_checks.gpudirect_missing,
    transport_checks.transports_differ,
    transport_checks.network_not_exercised,
    transport_checks.transport_unknown,
    pairs_checks.corrupt_exchanges,
    pairs_checks.pair_timeouts,
    pairs_checks.pairs_slow,
    bandwidth_checks.wrong_elements,
    bandwidth_checks.bandwidth_low,
    bandwidth_checks.stragglers,
    bandwidth_checks.baseline_no_match,
}


def test_every_check_is_provoked_by_some_test():
    silent = set(checks.CHECKS)
    for spoil in SPOILERS:
        job = healthy()
        spoil(job)
        case = StepEvidence(G8N2P8, verdict_on(job).histories, {})
        silent -= {check for check in silent if any(check(case))}

    assert SILENT_HERE == silent


def test_a_rank_that_computes_wrongly_does_not_implicate_the_others():
    job = healthy()
    _foreign(job)
    set_fact(
        job,
        [5],
        "identity",
        foreign_count=7,
        foreign_slots=[[r, 0] for r in range(8) if r != 5],
    )

    assert "in the slot of rank 5 on node2" in verdict_on(job).findings[0].text


def test_the_first_cause_comes_before_what_follows_from_it():
    job = healthy()
    _rank_5_raised(job)
    for rank in (0, 1, 2, 3, 4, 6, 7):
        del job[rank]["done"]

    kinds = [finding.kind for finding in verdict_on(job).findings]

    assert kinds == ["program-failed", "rank-incomplete"]


def test_a_rank_that_proved_nothing_is_not_a_pass():
    job = healthy()
    for phases in job.values():
        del phases["identity"]

    verdict = verdict_on(job)

    assert verdict.status == 3
    assert [f.kind for f in verdict.findings] == ["peers-not-verified"]


def test_a_damaged_record_that_is_not_missed_changes_nothing():
    verdict = verdict_on(healthy(), damaged=1)

    assert verdict.status == 0
    assert [f.kind for f in verdict.findings] == ["corrupt-records"]


def test_silence_where_records_were_damaged_could_be_anything():
    job = healthy()
    del job[5]["done"]

    assert verdict_on(job, damaged=1).status == 3


def test_wrong_numbers_fail_whatever_was_damaged():
    job = healthy()
    _wrong_sum(job)

    assert verdict_on(job, damaged=9).status == 1


def test_no_record_at_all_is_not_a_pass():
    (verdict,) = judge(JobState(), G8N2P8)

    assert verdict.status == 3
    assert "nothing was measured" in verdict.findings[0].text


def test_a_missing_rank_of_a_big_job_is_named_in_a_short_line():
    topology = parse_topology("G4096N512p4096")
    job = healthy(topology)
    for rank in range(0, 4096, 2):
        del job[rank]

    (finding,) = [f for f in verdict_on(job, topology).findings if f.ranks][:1]

    assert "2048 of 4096 ranks never reported" in finding.text
    assert len(finding.text) < 1000
