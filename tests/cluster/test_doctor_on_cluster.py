"""The doctor where it will be asked: by a user on the login node, in a job, and by root as Slurm's health check."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import time

LOAD = 'cd; module use "$1/modulefiles"; module load "$2"; '


def on_login(cluster, script: str):
    return cluster.bash(LOAD + script, str(cluster.checkout), cluster.module)


def test_a_user_on_the_login_node_hears_that_it_is_well(cluster):
    began_s = time.monotonic()
    done = on_login(cluster, "jax-sif doctor --quick")

    assert 0 == done.returncode, done.stdout
    assert "jax-sif doctor: OK login" == done.stdout.splitlines()[-1]
    assert time.monotonic() - began_s < 10


def test_the_whole_examination_imports_jax_and_is_readable_by_programs(cluster):
    done = on_login(cluster, "jax-sif doctor --format json")

    report = json.loads(done.stdout)
    assert (0, "jax-sif/doctor/1", 0) == (
        done.returncode,
        report["schema"],
        report["status"],
    )
    outcomes = {check["check"]: check["outcome"] for check in report["checks"]}
    assert "ok" == outcomes["importing JAX"]


def test_each_node_of_a_job_answers_for_itself(cluster):
    done = on_login(cluster, "srun --nodes=2 jax-sif doctor --quick")

    assert 0 == done.returncode, done.stdout
    for node in ("node1", "node2"):
        assert f"jax-sif doctor: OK {node}" in done.stdout


def test_root_without_an_environment_hears_it_too(cluster):
    doctor = f"{cluster.checkout}/bin/jax-sif"
    done = cluster.try_on(
        "node1", "env", "-i", "PATH=/usr/bin:/bin", f"JAX_IMAGE={cluster.image}",
        doctor, "doctor", "--quick",
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "jax-sif doctor: OK node1" == done.stdout.splitlines()[-1]


def test_a_fault_of_the_callers_variables_is_not_the_nodes(cluster):
    done = on_login(cluster, "XLA_FLAGS=--xla_no_such_flag=1 jax-sif doctor --quick")

    assert 1 == done.returncode, done.stdout
    assert "xla-flags" in done.stdout.splitlines()[-1]
    assert "FAIL" in done.stdout.splitlines()[-1]
