"""A rank's run, in a process of its own: how the end of a program is reported; with a stand-in for JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from checkout import SRC
from leaving import LEAVES


@pytest.mark.parametrize(
    ("program", "status", "expected"),
    [
        ("1 // 0", 1, "ZeroDivisionError"),
        ("import sys; sys.exit(3)", 3, "SystemExit: 3"),
        ("import sys; sys.exit('no data')", 1, "SystemExit: 1"),
        ("def main(): return 4\nimport sys; sys.exit(main())", 4, "SystemExit: 4"),
    ],
)
def test_a_failing_program_ends_at_once_and_reports_the_cause(
    run, program, status, expected
):
    done = run(program)

    assert status == done.returncode, done.stderr
    assert '"phase":"failed"' in done.stdout
    assert expected in done.stdout


def test_the_traceback_is_printed(run):
    assert "ZeroDivisionError: integer" in run("1 // 0").stderr


@pytest.mark.parametrize(
    "program",
    [
        "import sys\ntry:\n    sys.exit(3)\nexcept SystemExit:\n    pass\n",
        "import sys\ndef f():\n    try:\n        sys.exit(3)\n    except SystemExit as e:\n        return e\nf()\n",
        "import sys; sys.exit(0)",
        "",
    ],
)
def test_a_program_that_ends_well_is_left_to_jax(run, program):
    leaves = "import jax, atexit, time; atexit.unregister(time.sleep)\n"

    done = run(leaves + program)

    assert 0 == done.returncode, done.stderr
    assert '"phase":"done"' in done.stdout
    assert '"phase":"failed"' not in done.stdout


def test_records_are_written_only_where_a_job_has_a_judge(run):
    leaves = "import jax, atexit, time; atexit.unregister(time.sleep)\n"

    assert "@jaxsif2" not in run(leaves, JAX_SIF_TOPOLOGY="").stdout


def test_a_process_without_a_launcher_reports_it(run):
    leaves = "import jax, atexit, time; atexit.unregister(time.sleep)\n"

    assert "no launcher, a single process" in run(leaves).stderr


def test_a_process_without_a_launcher_gets_its_information(run):
    leaves = "import jax, atexit, time; atexit.unregister(time.sleep)\n"

    done = run(leaves + "print(info); print(info.launcher, info.coordinator_address)")

    assert "process 0 of 1 on " in done.stdout, done.stderr
    assert ", local devices 2, global devices 2\nnone None\n" in done.stdout


def test_a_program_in_an_allocation_of_several_tasks_does_not_start_alone(run):
    done = run("", SLURM_JOB_ID="7", SLURM_NTASKS="8", SLURM_JOB_NUM_NODES="2")

    assert 1 == done.returncode
    assert "but this program was not started by srun" in done.stderr


def test_a_launcher_that_provides_too_little_is_an_error_with_a_remedy(run):
    done = run("", JOB_COMPLETION_INDEX="0", JAX_SIF_TOPOLOGY="")

    assert 1 == done.returncode
    assert (
        "UsageError: Kubernetes provides a pod's index, but not the number of pods"
        in (done.stderr)
    )


def test_a_second_call_is_refused(run):
    done = run("initialize_distributed()")

    assert "initialize_distributed() should only be called once" in done.stderr


def test_a_program_reports_its_speed_and_requests_a_requeue(run):
    done = run(
        LEAVES + "jaxsif.report_speed(3, 1.5, 'sweeps'); jaxsif.request_requeue()"
    )

    assert 0 == done.returncode, done.stderr
    assert '"items":3.0,"seconds":1.5,"unit":"sweeps"' in done.stdout
    assert '"phase":"requeue"' in done.stdout


def test_a_program_reports_its_progress_at_once_and_at_its_end(run):
    """Of many reports in a moment the first and the last are written."""
    done = run(LEAVES + "[jaxsif.report_progress(n) for n in range(40, 90)]")

    assert 0 == done.returncode, done.stderr
    reports = [
        line for line in done.stdout.splitlines() if '"phase":"progress"' in line
    ]
    assert '"done":40,"first_done":40' in reports[0]
    assert '"done":89,"first_done":40' in reports[-1]
    assert len(reports) < 50


def test_progress_is_reported_before_the_exception_that_ends_the_program(run):
    done = run(LEAVES + "[jaxsif.report_progress(n) for n in range(50)]; 1 / 0")

    phases = re.findall(r'"phase":"(progress|failed)"', done.stdout)
    assert ["progress", "failed"] == phases[-2:]
    assert '"done":49,' in done.stdout


@pytest.mark.parametrize("number", ["-1", "0.5", "True"])
def test_what_is_no_progress_is_refused(run, number):
    done = run(LEAVES + f"jaxsif.report_progress({number})")

    assert 1 == done.returncode
    assert "expected a whole number" in done.stderr
    assert '"phase":"progress"' not in done.stdout


@pytest.mark.parametrize("numbers", ["0, 1", "3, 0", "3, float('nan')", "-1, 2"])
def test_what_is_no_speed_is_refused(run, numbers):
    done = run(LEAVES + f"jaxsif.report_speed({numbers})")

    assert 1 == done.returncode
    assert "expected a number above 0" in done.stderr
    assert '"phase":"speed"' not in done.stdout


def test_a_process_that_is_no_rank_yet_cannot_report_its_speed():
    done = subprocess.run(
        [sys.executable, "-c", "import jaxsif; jaxsif.report_speed(1, 1)"],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
    )

    assert "call jaxsif.initialize_distributed() first" in done.stderr


STEP = {
    "JAX_SIF_TOPOLOGY": "G2N1p2",
    "SLURM_CLUSTER_NAME": "box",
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURMD_NODENAME": "localhost",
    "SLURM_NODEID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_PROCID": "0",
}


def test_a_rank_without_the_certificate_that_is_required_does_not_import_jax(run):
    """As with `singularity exec`, which does not pass through the image's entry."""
    done = run("", **STEP, JAX_SIF_MTLS="required")

    assert 1 == done.returncode
    assert "UsageError: rank 0 on localhost has no certificate" in done.stderr
    assert "imports" not in done.stdout


def test_a_single_process_has_no_group_to_guard(run):
    leaves = "import jax, atexit, time; atexit.unregister(time.sleep)\n"

    assert 0 == run(leaves, JAX_SIF_MTLS="required").returncode
