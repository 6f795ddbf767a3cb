"""`jax-sif recover` beside a Slurm whose programs end as a file says: the loop, its history, and its bad input."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import jsonschema
import pytest
from checkout import ROOT, SRC

from jaxsif.core.attempts_file import json_schema

BIN = ROOT / "bin"
KEY = "01234567-89ab-cdef-0123-456789abcdef"

# `srun` starts what the sweep asks for on every node but those in `broken`; of the program
# it runs the file `attempt.N`, in the folder of the test.
SLURM = {
    "srun": """
        echo "$*" >> "$FAKE/asked"
        for word; do case $word in --nodelist=*) nodes=${word#*=} ;; esac; done
        case "$*" in
          *'--no-kill --wait=0'*)
            answer=ok
            if [ "$word" = look ]; then answer=idle; fi
            if [ "$word" = look ] && [ -e "$FAKE/saves" ]; then answer=busy; fi
            for node in $(echo "$nodes" | tr , ' '); do
              grep -qsx "$node" "$FAKE/broken" || echo "$node $answer"
            done
            if [ -e "$FAKE/lost" ]; then exec sleep 60; fi
            ;;
          *)
            env | grep ^JAX_SIF_ATTEMPT | sort >> "$FAKE/environment"
            . "$FAKE/attempt.$JAX_SIF_ATTEMPT"
            ;;
        esac
    """,
    "squeue": """
        case "$*" in *--steps*) ;; *) cat "$FAKE/allocation" ;; esac
    """,
    "sinfo": 'if [ -e "$FAKE/deaf" ]; then exit 1; fi; cat "$FAKE/states"',
    "scancel": 'echo "$*" >> "$FAKE/cancelled"',
    "scontrol": """
        case $1 in
          show) printf '%s\\n' node1 node2 node3 | grep -Fx "$(tr , '\\n' < "$FAKE/list")" ;;
          *) echo "$*" >> "$FAKE/scontrol" ;;
        esac
    """,
    # Of the container only the tool.
    "apptainer": """
        while [ "$1" != jax-sif ]; do shift; done
        shift
        exec "$PYTHON" -m jaxsif "$@"
    """,
}
KILLED = 'echo "srun: error: node2: task 1: Killed" >&2; exit 137\n'
RAISES = "echo 'srun: error: node1: task 0: Exited with exit code 3' >&2; exit 3\n"
WELL = "echo trained\n"


@pytest.fixture
def recover(site, tmp_path):
    """`jax-sif recover` for two processes on two of three nodes."""
    for name, body in SLURM.items():
        program = tmp_path / "runtime" / name
        program.write_text(f"#!/bin/sh\n{body}")
        program.chmod(0o755)
    (tmp_path / "states").write_text("node1 mixed\nnode2 mixed\nnode3 mixed\n")
    (tmp_path / "allocation").write_text("node[1-3]\n")
    (tmp_path / "list").write_text("node1,node2,node3")
    environment = {
        **site,
        "PATH": f"{site['PATH']}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(SRC),
        "FAKE": str(tmp_path),
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "a/b",
        "SLURM_JOB_NODELIST": "node[1-3]",
        "JAX_SIF_TOPOLOGY": "G2N2p2",
        "JAX_SIF_RECORD_KEY": KEY,
    }
    folder = tmp_path / "submitted"
    folder.mkdir()

    def run(
        *attempts: str, words=("--user-program", "--spare-nodes=1"), **changes: str
    ):
        for number, text in enumerate(attempts, start=1):
            (tmp_path / f"attempt.{number}").write_text(text)
        return subprocess.run(
            [BIN / "jax-sif", "recover", *words, "--", "srun", "python", "train.py"],
            env={**environment, **changes},
            **{"cwd": folder, "capture_output": True, "text": True, "timeout": 120},
        )

    return run


@pytest.fixture
def history(tmp_path):
    """The content of the history, which has its schema."""

    def read():
        content = json.loads((tmp_path / "submitted/a-b-7.attempts.json").read_text())
        jsonschema.validate(content, json_schema())
        return content

    return read


def test_a_program_that_ends_well_is_run_once(recover, history, tmp_path):
    done = recover(WELL)

    assert (0, "trained\n") == (done.returncode, done.stdout.partition("NO VER")[0])
    (attempt,) = history()["attempts"]
    assert ("done", ["node1", "node2"]) == (
        attempt["decision"]["action"],
        attempt["nodes"],
    )
    assert "1 attempt;" in done.stderr.splitlines()[-1]
    # Nothing is looked at where nothing has failed.
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1"} < set(asked.split())


def test_a_killed_rank_is_started_again_and_its_node_left_out_the_second_time(
    recover, history, tmp_path
):
    done = recover(KILLED, KILLED, WELL)

    assert 0 == done.returncode, done.stderr
    found = history()
    assert [["node1", "node2"]] * 2 + [["node1", "node3"]] == [
        attempt["nodes"] for attempt in found["attempts"]
    ]
    assert ["node2"] == [
        node["node"]
        for attempt in found["attempts"]
        for node in attempt["decision"]["left_out"]
    ]
    variables = (tmp_path / "environment").read_text().split()
    expected = [
        f"JAX_SIF_ATTEMPT{text}"
        for number in (1, 2, 3)
        for text in (f"={number}", f"_ID=7.{number}")
    ]
    assert expected == variables


def test_a_node_that_starts_no_process_is_replaced_at_once(recover, history, tmp_path):
    (tmp_path / "broken").write_text("node2\n")

    done = recover(KILLED, WELL)

    assert 0 == done.returncode, done.stderr
    assert ["node1", "node3"] == history()["attempts"][1]["nodes"]


def test_a_node_that_left_the_allocation_is_left_out(recover, history, tmp_path):
    """Slurm takes a node that is down out of the allocation (--no-kill)."""
    (tmp_path / "allocation").write_text("node[1,3]\n")
    (tmp_path / "list").write_text("node1,node3")
    (tmp_path / "states").write_text("node1 mixed\nnode2 down*\nnode3 mixed\n")

    done = recover(KILLED, WELL)

    assert 0 == done.returncode, done.stderr
    first, second = history()["attempts"]
    assert ["node2"] == [node["node"] for node in first["decision"]["left_out"]]
    assert ["node1", "node3"] == second["nodes"]


def test_a_status_of_the_programs_own_is_the_jobs_at_once(recover, history):
    done = recover(RAISES)

    assert 3 == done.returncode, done.stderr
    assert ["stop"] == [a["decision"]["action"] for a in history()["attempts"]]


def test_a_job_without_fit_nodes_is_requeued_without_the_bad_ones(
    recover, history, tmp_path
):
    (tmp_path / "allocation").write_text("node1\n")
    (tmp_path / "list").write_text("node1")
    (tmp_path / "states").write_text("node1 mixed\nnode2 down*\nnode3 down*\n")

    done = recover(KILLED, words=("--user-program", "--requeue"))

    assert 75 == done.returncode, done.stderr
    assert "requeue" == history()["attempts"][0]["decision"]["action"]
    asked = (tmp_path / "scontrol").read_text().splitlines()
    assert ["requeue 7", "update job=7 ExcNodeList=node2"] == asked


def test_a_requeued_job_goes_on_with_its_history(recover, history, tmp_path):
    recover(KILLED, KILLED, KILLED)
    first = history()["attempts"]
    (tmp_path / "attempt.4").write_text(WELL)

    done = recover(SLURM_RESTART_COUNT="1")

    assert 0 == done.returncode, done.stderr
    assert first == history()["attempts"][:3]
    assert (4, ["node1", "node3"]) == (
        history()["attempts"][3]["number"],
        history()["attempts"][3]["nodes"],
    )


def test_a_folder_that_cannot_be_written_does_not_end_the_job(recover, tmp_path):
    missing = f"--history={tmp_path}/missing/history.json"

    done = recover(KILLED, KILLED, WELL, words=("--user-program", missing))

    assert 0 == done.returncode, done.stderr
    assert 3 == done.stderr.count("the job goes on without this file")


def test_two_loops_in_one_allocation_are_refused(recover, tmp_path):
    lock = tmp_path / f"jax-sif-recover-{os.getuid()}-7"
    lock.mkdir()
    (lock / "process").write_text(f"{os.getpid()}\n")

    done = recover(WELL)

    assert 2 == done.returncode
    assert f"process {os.getpid()}" in done.stderr
    assert not (tmp_path / "asked").exists()
    assert (lock / "process").exists()


def test_what_a_killed_loop_left_is_no_second_loop(recover, tmp_path):
    lock = tmp_path / f"jax-sif-recover-{os.getuid()}-7"
    lock.mkdir()
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True)
    (lock / "process").write_text(ended.stdout)

    assert 0 == recover(WELL).returncode
    assert not lock.exists()


def test_a_slurm_that_does_not_answer_is_waited_for_and_given_up(recover, tmp_path):
    (tmp_path / "deaf").touch()

    done = recover(KILLED, KILLED, WELL, JAX_SIF_SLURM_TIMEOUT_S="1")

    # Its nodes are unknown, and nothing is left out because of that.
    assert 0 == done.returncode, done.stderr
    assert "Slurm does not respond" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--max-restarts=0",), "without a restart there is nothing to recover"),
        (("--max-restarts=many",), "expected numbers"),
        (("--max-restart=1",), "unknown option '--max-restart=1'"),
    ],
)
def test_bad_options_end_it_before_anything_starts(recover, tmp_path, words, complaint):
    done = recover(WELL, words=words)

    assert 2 == done.returncode
    assert complaint in done.stderr
    assert not (tmp_path / "asked").exists()


def test_outside_of_a_job_it_says_so(recover):
    done = recover(WELL, SLURM_JOB_ID="")

    assert 2 == done.returncode
    assert "this is not a job" in done.stderr


def test_a_signal_that_ends_the_job_ends_the_starts(recover, history, tmp_path):
    """As Slurm sends it to the batch script and the program at a cancellation."""
    ends = f"kill -TERM $(cat {tmp_path}/jax-sif-recover-*/process); {KILLED}"

    done = recover(ends, WELL)

    assert 137 == done.returncode, done.stderr
    assert ["stop"] == [a["decision"]["action"] for a in history()["attempts"]]


def test_the_sweep_ends_what_an_earlier_attempt_left_and_nothing_else():
    script = (BIN / "recover").read_text().partition("on_node='")[2]
    on_node = script.partition("\n'\n")[0]
    job = f"{os.getpid()}{time.time_ns() % 1000}"

    def start(mark: str) -> subprocess.Popen:
        variables = {"PATH": os.environ["PATH"], "JAX_SIF_ATTEMPT_ID": mark}
        return subprocess.Popen(["sleep", "600"], env=variables)

    def ask(what: str) -> tuple[str, str]:
        done = subprocess.run(
            ["sh", "-c", on_node, "sh", what],
            env={
                "PATH": os.environ["PATH"],
                "SLURM_JOB_ID": job,
                "SLURMD_NODENAME": "node2",
                # A job that is submitted from another one inherits its mark.
                "JAX_SIF_ATTEMPT_ID": "1.1",
            },
            **{"capture_output": True, "text": True, "timeout": 60},
        )
        return done.stdout, done.stderr

    own, others = start(f"{job}.1"), start(f"{job}7.1")
    try:
        assert ("node2 busy\n", "") == ask("look")
        assert own.poll() is None
        assert ("node2 ok\n", "") == ask("sweep")
        assert -9 == own.wait(10)
        assert ("node2 idle\n", "") == ask("look")
        assert others.poll() is None
    finally:
        for process in (own, others):
            process.kill()
            process.wait()


def test_srun_that_waits_for_a_lost_node_is_ended(recover, history, tmp_path):
    """One rank has failed, no process lives where a node answers, and node2 is silent."""
    (tmp_path / "broken").write_text("node2\n")
    (tmp_path / "lost").touch()
    waits = 'echo "srun: error: node1: task 0: Killed" >&2; exec sleep 600\n'

    done = recover(waits, WELL)

    assert 0 == done.returncode, done.stderr
    assert "1 of 2 nodes do not answer" in done.stderr
    assert ["node1", "node3"] == history()["attempts"][1]["nodes"]


def test_srun_that_waits_for_a_busy_node_is_left_alone(recover, history, tmp_path):
    """A rank of it may save its state."""
    (tmp_path / "broken").write_text("node2\n")
    (tmp_path / "saves").touch()
    saves = 'echo "srun: error: node2: task 1: Killed" >&2; sleep 15; exit 137\n'

    done = recover(saves, WELL)

    assert 0 == done.returncode, done.stderr
    assert "do not answer" not in done.stderr
    (first, _) = history()["attempts"]
    assert first["ended"] - first["started"] >= 15
