"""A job that is cancelled, or whose time is up, while a rank hangs: the verdict and its file come before Slurm's SIGKILL."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import json
import uuid
from pathlib import Path

import pytest
from fault import CLOCK_VARIABLE, on_signal
from fault_runner import FOLDER

HANGS = ("sleep", "loop", "c_call", "ignores_sigterm")


def submit(cluster, hang: str, *options: str):
    """The job, and what its verdict file holds."""
    name = uuid.uuid4().hex[:8]
    clock, file = (f"/home/hpc/{kind}-{name}" for kind in ("clock", "verdict"))
    cluster = dataclasses.replace(cluster, clock=clock)
    cluster.run("touch", clock)
    cancels = on_signal(cluster, lambda: cluster.run("scancel", "--user=hpc"))

    def job():
        return cluster.submit(
            Path(__file__).parent / "hangs.slurm",
            *options,
            **{CLOCK_VARIABLE: clock},
            HANG=hang,
            PROGRAMS=str(FOLDER.parent / "programs"),
            PYTHONPATH=str(FOLDER),
            APPTAINER_BIND=str(cluster.checkout),
            JAX_SIF_VERDICT_FILE=file,
        )

    if options:
        done = job()
    else:
        with cancels:
            done = job()
    text = cluster.run("sh", "-c", f"cat {file}; rm -f {file} {clock}").stdout
    assert text, done.output
    return done, json.loads(text)["verdicts"][0]["verdict"]


@pytest.mark.parametrize("hang", HANGS)
def test_a_cancelled_job_has_its_verdict(cluster, hang):
    job, in_file = submit(cluster, hang)

    assert job.verdict.startswith("COULD NOT TELL"), job.output
    assert "COULD NOT TELL" == in_file


@pytest.mark.parametrize("hang", ["loop", "c_call"])
def test_a_job_whose_time_is_up_has_its_verdict(cluster, hang):
    job, in_file = submit(cluster, hang, "--time=1")

    assert job.verdict.startswith("COULD NOT TELL"), job.output
    assert "COULD NOT TELL" == in_file
