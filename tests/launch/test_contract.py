"""What the rest of the kit reads in a launch's output, variables and environment."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from fake_nodes import well
from sample_records import make_record

from jaxsif.core.history import JobState
from jaxsif.core.record_lines import encode
from jaxsif.core.slurm_env import is_local_launch
from jaxsif.logs.scanner import scan
from jaxsif.node import limits
from jaxsif.rank import preflight
from jaxsif.verdict.stream import Stream

KILLED = "jax-sif launch: error: node2: task 3: Killed"
FIRST = "jax-sif launch: G4N2p4 as node1 to node2 on this machine, on cpu devices"
LAUNCHED = {
    "SLURM_CLUSTER_NAME": "local",
    "JAX_SIF_LOCAL_RANKS": "4",
    "SLURM_STEP_NODELIST": "node[1-2]",
}


def judged(text: str, cut: int = 0) -> tuple[JobState, bytes]:
    """What the judge hears of an output, and what it shows of it."""
    job_state = JobState()
    stream = Stream(job_state.add, job_state.add_line)
    raw = text.encode()
    shown = stream.feed(raw[:cut]) + stream.feed(raw[cut:]) + stream.close()
    return job_state, shown


@pytest.mark.parametrize("cut", range(0, len(KILLED), 5))
def test_the_judge_hears_which_rank_ended_and_how_and_who_says_so(cut):
    job_state, _ = judged(f"{KILLED}\n", cut)

    assert job_state.ended
    assert [("node2", (3,), "Killed", "jax-sif launch")] == [
        (e.node, e.ranks, e.reason, e.speaker) for e in job_state.ended.values()
    ]


def test_the_judge_hears_which_topology_was_launched():
    assert "G4N2p4" == judged(f"{FIRST}\n")[0].launched
    assert "G1N1p1" == judged("jax-sif launch: G1N1p1 as node1 on\n")[0].launched
    assert judged(f"a line with {FIRST}\n")[0].launched is None


def test_the_cause_of_an_end_is_recognised_in_any_output():
    found = scan([FIRST, KILLED]).causes[0]

    assert ("slurm-task-killed", (3,), ("node2",)) == (
        found.cause.id,
        found.ranks,
        found.nodes,
    )


def test_a_label_before_a_record_is_not_shown_and_names_its_rank_in_other_lines():
    record = encode(make_record(3, "done", "node2"))

    job_state, shown = judged(f" 3 node2| {record} 3 node2| text\n")
    named = scan(["12 node-4.x| ModuleNotFoundError: No module named 'jax'"])

    assert b" 3 node2| text\n" == shown
    assert {3} == set(*(sample_records for sample_records in job_state.steps.values()))
    assert (12,) == named.causes[0].ranks


def test_a_real_cluster_of_the_same_name_is_not_taken_for_one_machine():
    assert is_local_launch(LAUNCHED)
    assert not is_local_launch({"SLURM_CLUSTER_NAME": "local"})
    assert not is_local_launch({**LAUNCHED, "SLURM_CLUSTER_NAME": "real"})


def test_a_laptops_own_name_may_point_to_itself(tmp_path):
    def node(environment):
        resolve = {"environment": environment, "resolve": lambda name: ("127.0.1.1",)}
        return well(tmp_path, **resolve)

    real = {**LAUNCHED, "SLURM_CLUSTER_NAME": "real"}

    assert ["hostname-unresolvable"] == [t.kind for t in limits.hostname(node(real))]
    assert [] == list(limits.hostname(node(LAUNCHED)))


def test_the_coordinator_of_all_nodes_is_on_this_machine():
    real = {**LAUNCHED, "SLURM_CLUSTER_NAME": "real"}

    def kinds(environment):
        where = ("127.0.0.1", 1)
        found = preflight.reach_coordinator(where, 0.1, "node2", environment)
        return [problem.kind for problem in found]

    assert ["coordinator-resolves-to-self"] == kinds(real)
    assert ["coordinator-not-listening"] == kinds(LAUNCHED)
