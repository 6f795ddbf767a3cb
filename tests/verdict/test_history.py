"""The state of a job, in memory that grows with its ranks alone."""
# SPDX-License-Identifier: Apache-2.0

import tracemalloc

from sample_records import make_record

from jaxsif.core.history import JobState


def test_a_later_restart_replaces_the_earlier_run():
    job_state = JobState()
    job_state.add(make_record(0, "started", step="box.7.0.0"))
    job_state.add(make_record(1, "started", step="box.7.0.0"))
    job_state.add(make_record(0, "started", step="box.7.0.1"))
    job_state.add(make_record(1, "done", step="box.7.0.0"))

    assert {s: list(r) for s, r in job_state.steps.items()} == {"box.7.0": [0]}
    assert (job_state.count["started"], job_state.count["done"]) == (1, 0)


def test_two_steps_are_kept_apart():
    job_state = JobState()
    job_state.add(make_record(0, "started", step="box.7.0.0"))
    job_state.add(make_record(0, "started", step="box.7.1.0"))

    assert list(job_state.steps) == ["box.7.0", "box.7.1"]


def test_memory_grows_with_ranks_not_with_records():
    job_state = JobState()
    for rank in range(100):
        job_state.add(make_record(rank, "started"))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(200):
        for rank in range(100):
            job_state.add(make_record(rank, "started"))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 200_000


def test_all_that_a_rank_measured_is_kept_and_is_no_phase():
    job_state = JobState()
    job_state.add(make_record(0, "started"))
    for size in (8, 16):
        job_state.add(make_record(0, "bandwidth", size_bytes=size))

    history = job_state.steps["box.7.0"][0]
    assert [8, 16] == [record.size_bytes for record in history.measurements]
    assert "started" == history.phase
    assert 0 == job_state.count["bandwidth"]
