"""bin/slurm.sh: jobs are submitted, waited for and cancelled, whatever Slurm prints."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from checkout import ROOT

BIN = ROOT / "bin"
RUNNING = "JobId=7 JobName=x JobState=RUNNING Reason=None ExitCode=0:0 End=now"
SILENT = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
FORGOTTEN = "slurm_load_jobs error: Invalid job id specified"

# Each call prints the next line of a file, and the last line again and again. Errors go
# to standard error.
ANSWERS = """#!/bin/sh
echo "${0##*/} $*" >> calls
read -r answer < "${0##*/}.answers"
if [ "$(wc -l < "${0##*/}.answers")" -gt 1 ]; then sed -i 1d "${0##*/}.answers"; fi
case $answer in *error*) echo "$answer" >&2; exit 1 ;; *) echo "$answer" ;; esac
"""
SBATCH = """#!/bin/sh
echo begun >> begun
sleep "${SLOW_S:-0}"
echo "sbatch $*" >> calls
n=$(grep -c sbatch calls)
[ "$n" -lt "${REFUSES:-9}" ] || exit 1
echo "${ANSWERS_WITH:-$n;cluster}"
"""


def ended(state: str, exit_code: str) -> str:
    return (
        f"JobId=7 JobName=x JobState={state} Reason=None ExitCode={exit_code} End=now"
    )


@pytest.fixture
def shell(tmp_path):
    """Starts a script with bin/slurm.sh in it, beside a Slurm of such answers."""
    for name, text in (("sbatch", SBATCH), ("scontrol", ANSWERS), ("sacct", ANSWERS)):
        (tmp_path / name).write_text(text)
    (tmp_path / "scancel").write_text(
        '#!/bin/sh\necho "scancel $*" >> calls\nexit "${LOST:-0}"\n'
    )
    for name in ("sbatch", "scontrol", "sacct", "scancel"):
        (tmp_path / name).chmod(0o755)

    def start(
        script: str,
        *scontrol: str,
        sacct: str = "error",
        interpreter: tuple[str, ...] = ("sh",),
        **environment: str,
    ):
        (tmp_path / "scontrol.answers").write_text("".join(f"{x}\n" for x in scontrol))
        (tmp_path / "sacct.answers").write_text(f"{sacct}\n")
        return subprocess.Popen(
            [*interpreter, "-euc", f". {BIN}/slurm.sh\n{script}"],
            env={
                "PATH": f"{tmp_path}:/usr/bin:/bin",
                "JAX_SIF_POLL_INTERVAL_S": "0.02",
                **environment,
            },
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def run(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


WAIT = 'submitted=" 6 7 8"; wait_for 7; echo "$state $status$submitted"'


@pytest.mark.parametrize(
    ("state", "exit_code", "status"),
    [
        ("COMPLETED", "0:0", 0),
        ("FAILED", "1:0", 1),
        ("FAILED", "0:9", 137),
        # Nothing was found, so it is no pass.
        ("CANCELLED", "0:0", 3),
        ("TIMEOUT", "0:0", 3),
        ("NODE_FAIL", "0:0", 3),
        ("OUT_OF_MEMORY", "0:125", 253),
    ],
)
def test_an_ended_job_sets_state_and_status_and_is_not_cancelled(
    shell, state, exit_code, status
):
    outcome = run(shell(WAIT, RUNNING, ended(state, exit_code)))

    assert (0, f"{state} {status} 6 8\n", "") == outcome


@pytest.mark.parametrize(
    "state",
    ["PENDING", "CONFIGURING", "SUSPENDED", "COMPLETING", "REQUEUE_HOLD", "NEW"],
)
def test_waits_while_the_state_is_not_final(shell, state):
    outcome = run(shell(WAIT, ended(state, "0:0"), ended("COMPLETED", "0:0")))

    assert (0, "COMPLETED 0 6 8\n", "") == outcome


def test_waits_while_slurm_does_not_respond(shell):
    outcome = run(shell(WAIT, *[SILENT] * 40, RUNNING, SILENT, ended("FAILED", "1:0")))

    assert (0, "FAILED 1 6 8\n", "") == outcome


def test_warns_after_30_s_and_gives_up_after_the_timeout(shell, golden):
    wait = "last_response_s=$((last_response_s - 40)); " + WAIT
    wait += '; wait_for 8; echo "$state $status"'
    status, out, err = run(shell(wait, SILENT, JAX_SIF_SLURM_TIMEOUT_S="41"))

    assert (0, "UNKNOWN 3 6 8\nUNKNOWN 3\n") == (status, out)
    golden("slurm-does-not-respond", err)


def test_a_job_that_slurm_has_forgotten_is_in_its_accounting(shell):
    outcome = run(shell(WAIT, FORGOTTEN, sacct="CANCELLED by 1000|0:15"))

    assert (0, "CANCELLED 143 6 8\n", "") == outcome


def test_a_forgotten_job_without_accounting_is_no_proof(shell):
    assert (0, "FORGOTTEN 3 6 8\n", "") == run(shell(WAIT, FORGOTTEN))


def test_a_job_s_number_is_taken_without_its_cluster(shell):
    outcome = run(
        shell('submit a.slurm; submit --x b.slurm; echo "$job,$submitted"', "")
    )

    assert (0, "2, 1 2\n", "") == outcome


def test_output_of_sbatch_that_is_no_job_id_is_an_error(shell, golden):
    process = shell("submit a.slurm || cancel_and_exit 2", "", ANSWERS_WITH="hello")

    status, _, err = run(process)

    assert 2 == status
    golden("sbatch-without-job-id", err)


def test_a_refused_job_cancels_those_submitted_before(shell, tmp_path):
    process = shell(
        "submit a.slurm; submit b.slurm; submit c.slurm || cancel_and_exit 2",
        "",
        REFUSES="3",
    )

    status, _, err = run(process)

    assert (2, True) == (status, err.endswith("jax-sif: cancelled: 1 2\n"))
    assert "scancel 1 2" == (tmp_path / "calls").read_text().splitlines()[-1]


def test_what_cannot_be_cancelled_is_named(shell, golden):
    status, _, err = run(shell("submit a.slurm; cancel_and_exit 2", "", LOST="1"))

    assert 2 == status
    golden("cannot-cancel", err)


def until(path: Path, text: str) -> None:
    """Returns when a file holds a text."""
    for _ in range(500):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"no {text!r} in {path}")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_cancels_what_has_not_ended(shell, tmp_path, number, status):
    script = "submit a.slurm; submit b.slurm; wait_for 1; wait_for 2"
    process = shell(script, ended("COMPLETED", "0:0"), RUNNING)
    until(tmp_path / "calls", "scontrol --oneliner show job 2")

    os.killpg(process.pid, number)

    assert status == run(process)[0]
    assert "scancel 2" == (tmp_path / "calls").read_text().splitlines()[-1]


# The sh of many clusters is bash.
@pytest.mark.parametrize("interpreter", [("sh",), ("bash", "--posix")])
def test_a_job_that_is_being_submitted_at_the_time_is_cancelled_too(
    shell, tmp_path, interpreter
):
    script = "submit a.slurm; submit b.slurm; sleep 9"
    process = shell(script, "", interpreter=interpreter, SLOW_S="0.5")
    until(tmp_path / "begun", "begun\nbegun\n")

    os.killpg(process.pid, signal.SIGINT)

    assert 130 == run(process)[0]
    assert "scancel 1 2" == (tmp_path / "calls").read_text().splitlines()[-1]


def test_output_that_a_file_system_shows_late_is_there(shell, tmp_path):
    late = "{ sleep 0.1; echo x > late.out; } & has_output late.out && echo there"

    assert (0, "there\n", "") == run(shell(late, "", JAX_SIF_POLL_INTERVAL_S="0.1"))


def test_output_that_never_comes_is_not(shell):
    assert 1 == run(shell("has_output no.out", ""))[0]


def test_a_study_submits_its_own_scripts_whatever_its_folder_is_called(tmp_path):
    """`runs in May`: another study lies in the folder `runs`."""
    programs = {
        "jax-sif": '#!/bin/sh\ncase "$2" in plan) echo "runs in May in 1 2" ;; esac\n',
        "sbatch": '#!/bin/sh\nfor last; do :; done\necho "$last" >> asked\necho 7\n',
        "scontrol": f'#!/bin/sh\necho "{ended("COMPLETED", "0:0")}"\n',
        "scale": (BIN / "scale").read_text(),
        "slurm.sh": (BIN / "slurm.sh").read_text(),
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "runs in May").mkdir()
    for name in ("1.out", "2.out"):
        (tmp_path / "runs in May" / name).write_text("speed")

    done = subprocess.run(
        [tmp_path / "scale"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "JAX_SIF_POLL_INTERVAL_S": "0.02"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert ["runs in May/1.slurm", "runs in May/2.slurm"] == asked
    assert " 7 7\n" == (tmp_path / "runs in May/jobs").read_text()
