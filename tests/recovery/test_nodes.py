"""Goodput of a job's attempts, what each node has cost, and the commands that show it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from jaxsif.cli import main
from jaxsif.core.attempts_file import (
    Attempt,
    AttemptsFile,
    Cause,
    Decision,
    NodeLeftOut,
    restart_seconds,
    with_totals,
)
from jaxsif.recovery.nodes import node_costs, to_exclude


def attempts(job: str = "7", bad: str = "node2", devices: int = 4) -> AttemptsFile:
    """100 steps in 100 s; a fault at step 70, of which 20 steps are not saved."""
    lost = Attempt(
        number=1,
        nodes=("node1", bad),
        started=1000.0,
        ended=1090.0,
        status=137,
        cause=Cause("slurm-node-failed", f"{bad} failed", (2, 3), (bad,)),
        first_done=0,
        last_done=70,
        first_time=1010.0,
        last_time=1080.0,
        decision=Decision(
            "start", "", ("node1", "node3"), (NodeLeftOut(bad, "slurm-node-failed"),)
        ),
    )
    well = Attempt(
        number=2,
        nodes=("node1", "node3"),
        started=1090.0,
        ended=1160.0,
        status=0,
        first_done=50,
        last_done=100,
        first_time=1100.0,
        last_time=1150.0,
        decision=Decision("done", ""),
    )
    return with_totals(
        AttemptsFile(
            kit="0.1",
            job=job,
            name="train",
            topology="G4N2p4",
            devices=devices,
            spare_nodes=1,
            max_restarts=10,
            attempts=(lost, well),
        )
    )


def write(folder: Path, file: AttemptsFile) -> str:
    path = folder / f"{file.name}-{file.job}.attempts.json"
    path.write_bytes(msgspec.json.encode(file))
    return str(path)


def test_goodput_counts_each_step_once():
    """70 s, and 30 of the 50 s of the second attempt, of 160 s."""
    file = attempts()

    assert round(100 / 160, 4) == file.goodput
    assert round(4 * 60 / 3600, 3) == file.device_hours_lost
    assert [None, 10.0] == restart_seconds(file.attempts)
    assert 10.0 == file.attempts[0].detect_s


def test_without_reports_there_is_no_goodput():
    silent = [
        msgspec.structs.replace(
            a, first_done=None, last_done=None, first_time=None, last_time=None
        )
        for a in attempts().attempts
    ]
    file = msgspec.structs.replace(attempts(), attempts=tuple(silent), goodput=None)

    assert with_totals(file).goodput is None
    assert [None, None] == restart_seconds(silent)


def test_clocks_that_differ_give_no_negative_time():
    first, second = attempts().attempts
    ahead = msgspec.structs.replace(first, last_time=5000.0)

    assert 0.0 == ahead.detect_s
    assert [None, 0.0] == restart_seconds(
        [first, msgspec.structs.replace(second, first_time=1.0)]
    )


def test_costs_of_nodes_are_summed_over_jobs():
    costs = node_costs([attempts("1"), attempts("2"), attempts("3", bad="node9")])

    assert ["node2", "node9"] == [cost.node for cost in costs]
    assert (2, 2, {"1", "2"}) == (costs[0].attempts, costs[0].left_out, costs[0].jobs)
    # From the last step before to the first one after: 20 s, four devices, two jobs.
    assert 2 * 4 * 20 / 3600 == pytest.approx(costs[0].device_hours)
    assert ["node2", "node9"] == to_exclude(costs)


def test_a_node_under_suspicion_alone_is_not_excluded():
    file = attempts()
    first = msgspec.structs.replace(
        file.attempts[0],
        cause=Cause("rank-silent", "", (2,), ("node2",)),
        decision=Decision("start", "", ("node1", "node2")),
    )
    costs = node_costs([msgspec.structs.replace(file, attempts=(first,))])

    assert ("node2", 0) == (costs[0].node, costs[0].left_out)
    assert [] == to_exclude(costs)


def test_the_command_shows_a_table_and_an_option(tmp_path, capsys, golden):
    files = [write(tmp_path, attempts(job)) for job in ("1", "2")]

    assert 0 == main(["nodes", *files])

    golden("nodes", capsys.readouterr().out)


def test_the_report_shows_the_attempts(tmp_path, capsys, golden):
    assert 0 == main(["report", write(tmp_path, attempts())])

    golden("report-of-attempts", capsys.readouterr().out)


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "jax-sif/verdict/1"}', "no"])
def test_what_is_no_file_of_attempts_is_refused(tmp_path, capsys, content):
    path = tmp_path / "x.attempts.json"
    path.write_text(content)

    assert 2 == main(["nodes", str(path)])
    assert "is no file of attempts" in capsys.readouterr().err
    assert 2 == main(["nodes", str(tmp_path / "missing")])


def test_the_file_is_json_that_others_read(tmp_path):
    content = json.loads(Path(write(tmp_path, attempts())).read_text())

    assert "jax-sif/attempts/1" == content["schema"]
    assert ["start", "done"] == [a["decision"]["action"] for a in content["attempts"]]
