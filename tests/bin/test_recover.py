"""`jax-sif recover` beside a Slurm whose programs end as a file says: the loop, its history, and its bad input."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

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
            case "$*" in
              *' look '[0-9]*)
                answer=idle
                if [ -e "$FAKE/saves" ]; then answer=busy; fi
                if [ -e "$FAKE/mute" ]; then echo >> "$FAKE/mute"; exec sleep 60; fi
                ;;
            esac
            for node in $(echo "$nodes" | tr , ' '); do
              if grep -qsx "$node" "$FAKE/occupied"; then
                echo "$node occupied: process 12 of an earlier attempt cannot be ended"
                continue
              fi
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
    "uname": "echo node1.cluster",
    "scontrol": """
        case $1 in
          --oneliner)
            case "$*" in *'show step'*) sed "s/PID/$(cat "$FAKE/pid" "$TMPDIR"/jax-sif-recover-*/srun.process | tail -n 1)/" "$FAKE/steps" ;; *) cat "$FAKE/job" ;; esac ;;
          show) printf '%s\\n' node1 node2 node3 | grep -Fx "$(tr , '\\n' < "$FAKE/list")" ;;
          *) echo "$*" >> "$FAKE/scontrol" ;;
        esac
    """,
    # Of the container only the tool.
    "apptainer": """
        echo "$*" >> "$FAKE/containers"
        while [ "$1" != jax-sif ]; do shift; done
        shift
        if [ -e "$FAKE/unbound" ] && [ "$1" = recover ]; then exit 1; fi
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
    (tmp_path / "pid").write_text("0\n")
    (tmp_path / "steps").touch()
    (tmp_path / "job").write_text("JobId=7 ExcNodeList=(null) NodeList=node[1-3]\n")
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


def test_nothing_is_started_while_slurm_cannot_say_what_lives(
    recover, history, tmp_path
):
    (tmp_path / "deaf").touch()

    done = recover(KILLED, WELL, JAX_SIF_SLURM_TIMEOUT_S="1")

    assert 137 == done.returncode, done.stderr
    (attempt,) = history()["attempts"]
    # Its nodes are unknown, and nothing is left out because of that.
    assert ("stop", []) == (
        attempt["decision"]["action"],
        attempt["decision"]["left_out"],
    )
    assert "Slurm does not respond" in done.stderr


def test_a_job_that_slurm_does_not_know_is_not_waited_for(recover, tmp_path):
    squeue = tmp_path / "runtime/squeue"
    squeue.write_text("#!/bin/sh\necho 'Invalid job id specified' >&2; exit 1\n")

    assert 137 == recover(KILLED, WELL).returncode


def test_a_node_with_a_process_of_an_earlier_attempt_is_not_used(
    recover, history, tmp_path
):
    (tmp_path / "occupied").write_text("node2\n")

    done = recover(KILLED, WELL)

    assert 0 == done.returncode, done.stderr
    assert ["node1", "node3"] == history()["attempts"][1]["nodes"]


def test_too_many_such_nodes_are_asked_again_and_end_the_job(
    recover, history, tmp_path
):
    (tmp_path / "occupied").write_text("node2\nnode3\n")

    done = recover(KILLED, WELL, JAX_SIF_READY_TIMEOUT_S="0")

    assert 137 == done.returncode, done.stderr
    assert 4 == (tmp_path / "asked").read_text().count(" sweep 1\n")
    assert ["stop"] == [a["decision"]["action"] for a in history()["attempts"]]


def test_such_a_node_that_becomes_free_is_used(recover, tmp_path):
    (tmp_path / "occupied").write_text("node2\nnode3\n")
    (tmp_path / "runtime/sleep").write_text(
        '#!/bin/sh\nif [ "$1" = 3 ]; then rm -f "$FAKE/occupied"; fi\nexec /bin/sleep 0.1\n'
    )
    (tmp_path / "runtime/sleep").chmod(0o755)

    done = recover(KILLED, WELL, JAX_SIF_READY_TIMEOUT_S="3")

    assert 0 == done.returncode, done.stderr


def test_only_the_loops_own_step_is_ended(recover, tmp_path):
    """A monitor of the user, and another task of a job array, run beside it."""
    (tmp_path / "steps").write_text(
        "StepId=7_2.0 State=RUNNING SrunHost:Pid=node1:PID\n"
        "StepId=7_2.1 State=RUNNING SrunHost:Pid=node1:1PID\n"
        "StepId=7_2.2 State=RUNNING SrunHost:Pid=login:PID\n"
        "StepId=7_3.0 State=RUNNING SrunHost:Pid=node2:PID\n"
        "StepId=7_2.batch State=RUNNING SrunHost:Pid=node1:\n"
    )

    assert 0 == recover(KILLED, WELL).returncode

    assert "--signal=KILL 7_2.0\n" == (tmp_path / "cancelled").read_text()


def test_of_a_job_array_one_task_is_requeued(recover, tmp_path):
    (tmp_path / "job").write_text("JobId=7 ExcNodeList=node[8-9] NodeList=node[1-3]\n")
    (tmp_path / "allocation").write_text("node1\n")
    (tmp_path / "list").write_text("node1")
    (tmp_path / "states").write_text("node1 mixed\nnode2 down*\nnode3 down*\n")
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}

    done = recover(KILLED, words=("--user-program", "--requeue"), **array)

    assert 75 == done.returncode, done.stderr
    # What the user excludes stays excluded.
    assert ["requeue 7_2", "update job=7_2 ExcNodeList=node[8-9],node2"] == (
        (tmp_path / "scontrol").read_text().splitlines()
    )


def test_the_loops_folder_is_bound_into_the_container(recover, tmp_path):
    assert 0 == recover(WELL).returncode

    bind = f"--bind {tmp_path}/jax-sif-recover-{os.getuid()}-7 "
    calls = (tmp_path / "containers").read_text().splitlines()
    own = [call for call in calls if " decide " in call or " verify " in call]
    assert 3 == len(own)
    assert all(bind in call for call in own), own


def test_a_folder_that_the_container_does_not_write_is_refused_at_once(
    recover, tmp_path
):
    apptainer = tmp_path / "runtime/apptainer"
    writes = apptainer.read_text()
    remove = 'rm -f "$TMPDIR"/jax-sif-recover-*/written; exit $status\n'
    apptainer.write_text(
        writes.replace("exec ", "status=0; ").rstrip() + f" || status=$?\n{remove}"
    )

    done = recover(WELL)

    assert 2 == done.returncode
    assert "TMPDIR" in done.stderr
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(("text", "status"), [(WELL, 0), (KILLED, 137)])
def test_without_a_decision_the_job_ends_as_its_attempt(
    recover, tmp_path, text, status
):
    done = recover(f"touch {tmp_path}/unbound\n{text}", WELL)

    assert status == done.returncode, done.stderr
    assert "no decision could be made" in done.stderr


def test_the_status_of_srun_that_cannot_be_read_is_no_success(recover, tmp_path):
    """As on a full disk."""
    done = recover(f"mkdir $(echo {tmp_path}/jax-sif-recover-*)/srun.status\n{WELL}")

    assert 1 == done.returncode, done.stderr


def test_an_attempt_of_a_killed_loop_is_ended_first(recover, tmp_path):
    lock = tmp_path / f"jax-sif-recover-{os.getuid()}-7"
    lock.mkdir()
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True)
    (lock / "process").write_text(ended.stdout)

    assert 0 == recover(WELL).returncode

    asked = (tmp_path / "asked").read_text()
    assert 0 < asked.find(" sweep 999999999\n") < asked.find("train.py")


def test_beside_a_killed_loop_of_which_nothing_is_known_nothing_starts(
    recover, tmp_path
):
    lock = tmp_path / f"jax-sif-recover-{os.getuid()}-7"
    lock.mkdir()
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True)
    (lock / "process").write_text(ended.stdout)
    (tmp_path / "deaf").touch()

    assert 1 == recover(WELL, JAX_SIF_SLURM_TIMEOUT_S="1").returncode
    assert not (tmp_path / "asked").exists()


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

    def start(mark: str, number: str = job) -> subprocess.Popen:
        variables = {
            "PATH": os.environ["PATH"],
            "JAX_SIF_ATTEMPT_ID": mark,
            "SLURM_JOB_ID": number,
        }
        return subprocess.Popen(["sleep", "600"], env=variables)

    def ask(what: str) -> tuple[str, str]:
        done = subprocess.run(
            ["sh", "-c", on_node, "sh", what, "9"],
            env={
                "PATH": os.environ["PATH"],
                "SLURM_JOB_ID": job,
                "SLURMD_NODENAME": "node2",
                # As of a job that another one submitted.
                "JAX_SIF_ATTEMPT_ID": "1.1",
            },
            **{"capture_output": True, "text": True, "timeout": 60},
        )
        return done.stdout, done.stderr

    own = start(f"{job}.9")
    others = {
        "of another job": start(f"{job}7.1", f"{job}7"),
        "submitted by the program": start(f"{job}.1", f"{job}8"),
        "of the next attempt": start(f"{job}.10"),
    }
    try:
        assert ("node2 busy\n", "") == ask("look")
        assert own.poll() is None
        assert ("node2 ok\n", "") == ask("sweep")
        assert -9 == own.wait(10)
        assert ("node2 idle\n", "") == ask("look")
        assert dict.fromkeys(others) == {
            what: process.poll() for what, process in others.items()
        }
    finally:
        for process in (own, *others.values()):
            process.kill()
            process.wait()


def test_srun_that_waits_for_a_lost_node_is_ended(recover, history, tmp_path):
    """One rank has failed, no process lives where a node answers, and node2 is silent."""
    (tmp_path / "broken").write_text("node2\n")
    (tmp_path / "lost").touch()
    waits = 'echo "srun: error: node1: task 0: Killed" >&2; exec sleep 600\n'

    done = recover(waits, WELL, JAX_SIF_READY_TIMEOUT_S="2")

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


def test_a_slurm_that_starts_nothing_is_no_evidence_of_lost_nodes(recover, tmp_path):
    (tmp_path / "mute").touch()
    # Until two questions have had no answer.
    waits = (
        'echo "srun: error: node2: task 1: Killed" >&2\n'
        'until [ "$(grep -c "" "$FAKE/mute")" -ge 3 ]; do sleep 0.2; done\n'
        'rm "$FAKE/mute"; exit 137\n'
    )

    done = recover(waits, WELL, JAX_SIF_READY_TIMEOUT_S="1")

    assert 0 == done.returncode, done.stderr
    assert "do not answer" not in done.stderr


def test_the_watcher_ends_with_a_killed_loop(recover, tmp_path):
    """As at SIGKILL; Ctrl-C is waited for."""
    lock = f"{tmp_path}/jax-sif-recover-*"
    kills = f"cat {lock}/process > {tmp_path}/loop; kill -KILL $(cat {lock}/process)\n"

    assert -9 == recover(kills).returncode

    group = (tmp_path / "loop").read_text().strip()
    deadline_s = time.monotonic() + 60
    while children := marked(tmp_path):
        assert time.monotonic() < deadline_s, (group, children)
        time.sleep(0.2)


def marked(folder) -> list[str]:
    """The processes of the loop whose TMPDIR is the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes()
        except OSError:
            continue
        if (
            f"TMPDIR={folder}\0".encode() in environment
            and int(path.name) != os.getpid()
        ):
            found.append(path.name)
    return found


def test_ctrl_c_ends_the_starts_and_cleans_up(recover, history, tmp_path):
    ends = f"kill -INT $(cat {tmp_path}/jax-sif-recover-*/process); {KILLED}"

    done = recover(ends, WELL)

    assert 137 == done.returncode, done.stderr
    assert ["stop"] == [a["decision"]["action"] for a in history()["attempts"]]
    assert not list(tmp_path.glob("jax-sif-recover-*"))


def test_a_program_whose_processes_ended_well_is_not_run_twice(
    recover, history, tmp_path
):
    """The verdict reads a failure, and what the program did is done."""
    done = recover('echo "srun: error: node2: task 1: Killed" >&2\n', WELL)

    assert 0 != done.returncode
    assert ["stop"] == [a["decision"]["action"] for a in history()["attempts"]]
