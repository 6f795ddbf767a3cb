"""`jax-sif verify` follows the observers: what ends the step, what is a warning, what is written."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from sample_records import samples

from jaxsif.commands import hang_watch
from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.hang.group import Hang, Standstill
from jaxsif.verdict.verdict import is_empty, judge

G2 = parse_topology("G2N1p2")
LOOP = {
    "state": "spinning",
    "stack": ["train.py:7 in <module>"],
    "waits_in": None,
    "is_alone": True,
}


@pytest.fixture
def watch(monkeypatch, tmp_path):
    monkeypatch.setattr(hang_watch, "LOOK_S", 0)

    def make(end: str = "") -> hang_watch.HangWatch:
        environment = {"JAX_SIF_HANG_S": "100", "JAX_SIF_HANG_END": end}
        return hang_watch.HangWatch(G2, environment, tmp_path / "job.json")

    return make


def stalled(rank: int, **changes: object):
    return replace(samples(rank, G2)["stalled"], **changes)


def test_a_hang_ends_the_step_once_and_the_stacks_are_written(watch, tmp_path):
    hangs = watch()
    assert hangs.add(stalled(0))
    assert not hangs.look()
    assert hangs.add(stalled(1, **LOOP))

    assert hangs.look()
    assert (True, False) == (hangs.take(), hangs.take())
    assert not hangs.look()
    text = (tmp_path / "job.stacks").read_text()
    assert text.index("train.py:7") < text.index("train.py:42")
    (verdict,) = judge(JobState(2), G2, is_program=True, hang=hangs.found)
    assert 1 == verdict.status
    assert [("hang", (1,))] == [(f.kind, f.ranks) for f in verdict.findings]


def test_the_stacks_have_the_name_of_the_job():
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "a/b"}

    assert Path("a-b-7.stacks") == hang_watch.stacks_file(job, None)
    assert Path("x/v.stacks") == hang_watch.stacks_file(job, Path("x/v.json"))
    assert hang_watch.stacks_file({}, None) is None


def test_a_rank_that_moves_is_no_hang(watch):
    hangs = watch()
    for rank in range(2):
        hangs.add(stalled(rank))
    hangs.add(samples(1, G2)["moving"])

    assert not hangs.look()
    assert hangs.found is None


def test_all_at_one_line_are_a_warning_and_an_end_on_request(watch):
    for end, status in ("", 0), ("always", 1):
        hangs = watch(end)
        for rank in range(2):
            hangs.add(stalled(rank, stalled_s=700.0))

        assert bool(status) == hangs.look()
        assert hangs.found is not None
        kind = "hang" if status else "standstill"
        case = judge(JobState(2), G2, is_program=True, hang=hangs.found)
        assert [kind] == [f.kind for f in case[0].findings if f.kind != "no-records"]
        assert (1 if status else 3) == case[0].status
        assert bool(status) != is_empty(case[0])


def test_a_launcher_that_is_not_ended_leaves_a_warning(watch):
    hangs = watch()
    hangs.add(stalled(0))
    hangs.add(stalled(1, **LOOP))
    assert hangs.look()
    hangs.note_not_ended()

    assert not hangs.look()
    assert not hangs.found.is_certain


def test_answers_are_written_when_all_ranks_have_given_theirs(watch, tmp_path):
    hangs = watch()
    hangs.add(stalled(0, is_requested=True))
    hangs.look()
    assert not (tmp_path / "job.stacks").exists()
    hangs.add(stalled(1, is_requested=True, **LOOP))
    hangs.look()

    assert "train.py:7" in (tmp_path / "job.stacks").read_text()
    assert hangs.found is None


def test_the_finding_names_rank_node_line_and_state(golden):
    group = {
        0: Standstill(
            0, "blocked", ("train.py:57 in <module>",), "futex_do_wait", "node1"
        ),
        1: Standstill(0, "holds-gil", ("save.py:9 in save",), None, "node2"),
        2: Standstill(0, "stopped", ("save.py:9 in save",), None, "node2"),
    }
    hang = Hang((1, 2), "train.py:57 in <module>", 612.0, True, group)
    one_line = Hang((), "train.py:57 in <module>", 3600.0, False, {0: group[0]})

    text = [
        f"{f.kind} {f.ranks}: {f.text}\n  -> {f.remedy}"
        for h in (hang, one_line)
        for verdict in judge(
            JobState(3), parse_topology("G3N1p3"), is_program=True, hang=h
        )
        for f in verdict.findings
    ]
    golden("findings", "\n".join(text) + "\n")
