"""`jax-sif recover decide`: what it makes of the files that the loop and the verdict have written."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxsif.cli import main

KEYS = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_NAME")


def finding(kind: str, ranks: list[int], text: str = "", **changes) -> dict:
    return {"kind": kind, "text": text, "remedy": "", "ranks": ranks, **changes}


def verdict(*findings: dict) -> str:
    step = {
        "step": "cluster.7.0",
        "topology": {"label": "G4N2p4", "nodes": 2, "processes": 4, "devices": 4},
        "status": 1,
        "verdict": "FAIL",
        "summary": "",
        "findings": findings,
        "expected": [],
        "bandwidth": [],
        "pairs": None,
        "verified_by": {"kit": "0"},
        # Rank 2 is on node3, and the others never reported.
        "ranks": [
            {"rank": 2, "node": "node3", "phase": "unknown", "phases": {}}
            | {"measurements": []}
        ],
    }
    return json.dumps({"schema": "jax-sif/verdict/1", "kit": "0", "verdicts": [step]})


@pytest.fixture
def decide(tmp_path, monkeypatch, capsys):
    """The answer to the loop, and the history, after an attempt on node1 and node3."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-4]")
    monkeypatch.setenv("JAX_SIF_TOPOLOGY", "G4N2p4")

    def run(*findings: dict, **files: str) -> tuple[dict[str, str], dict]:
        (tmp_path / "verdict.json").write_text(verdict(*findings))
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        status = main(
            [
                *("recover", "decide", f"--history={tmp_path}/x.attempts.json"),
                *(f"--work={tmp_path}", "--max-restarts=3", "--spare-nodes=2"),
                *("--attempt=1", "--nodes=node1,node3", "--status=1"),
            ]
        )
        assert 0 == status
        lines = capsys.readouterr().out.splitlines()
        history = json.loads((tmp_path / "x.attempts.json").read_text())
        return dict(line.split("=", 1) for line in lines), history["attempts"][0]

    return run


def test_a_killed_rank_is_the_cause_whatever_its_peers_report(decide):
    answer, attempt = decide(
        finding("xla-collective-mismatch", [2]),
        finding("rank-exited", [2], "rank 2 on node3: Killed (reported by srun)"),
    )

    assert ("rank-exited", ["node3"]) == (
        attempt["cause"]["kind"],
        attempt["cause"]["nodes"],
    )
    assert ("start", "node1,node3") == (answer["action"], answer["nodes"])


def test_evidence_of_a_node_comes_before_what_follows_from_it(decide):
    answer, attempt = decide(
        finding("gloo-closed", [0]),
        finding("image-missing", [2]),
        finding("gpu-lost", [1], is_warning=True),
    )

    assert "image-missing" == attempt["cause"]["kind"]
    assert ("start", "node1,node2") == (answer["action"], answer["nodes"])
    assert "node3" == answer["left_out"]


def test_a_rank_that_never_reported_is_where_the_topology_places_it(decide):
    _, attempt = decide(finding("image-missing", [3]))

    assert ["node3"] == attempt["cause"]["nodes"]


@pytest.mark.parametrize(
    ("states", "nodes"),
    [
        # Down for certain.
        ("node1 mixed\nnode3 down*\n", "node1,node2"),
        # Draining: what runs there goes on.
        ("node1 mixed\nnode3 draining\n", "node1,node3"),
        ("node1 mixed\nnode3 mixed*\n", "node1,node3"),
        ("", "node1,node3"),
    ],
)
def test_of_slurms_states_only_those_of_lost_nodes_count(decide, states, nodes):
    answer, _ = decide(finding("gloo-closed", [0]), states=states)

    assert nodes == answer["nodes"]


def test_a_node_that_has_not_answered_makes_way(decide):
    ready = "node1 ok\nnode2 ok\nnode4 cannot read /image.sif\n"

    answer, attempt = decide(finding("gloo-closed", [0]), ready=ready)

    assert "node1,node2" == answer["nodes"]
    assert [] == attempt["decision"]["left_out"]


def test_a_node_with_a_process_that_cannot_be_ended_is_not_fit(decide):
    ready = "node1 ok\nnode3 occupied: process 12\n"

    answer, _ = decide(
        finding("gloo-closed", [0]), allocation="node[1,3]\n", ready=ready
    )

    assert "stop" == answer["action"]


def test_a_damaged_history_is_begun_anew(decide, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    (tmp_path / "x.attempts.json").write_text('{"schema": "jax-sif/att')

    answer, attempt = decide(finding("gloo-closed", [0]))

    assert ("start", 1) == (answer["action"], attempt["number"])
