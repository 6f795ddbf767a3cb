"""Two concurrent steps of one job: right with the kit, and never exit 0 with a wrong sum without it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

TWO_STEPS = Path(__file__).parent / "two_steps.slurm"

# Each takes 4 s on two cores; what the README claims was seen with 20.
TRIALS = int(os.environ.get("JAX_SIF_TRIALS", "5"))


def ended_steps(
    cluster, program: str, trials: int = TRIALS, **environment: str
) -> list[tuple[int, str]]:
    """Exit status and output of every step, the first and the second of each trial."""
    job = cluster.submit(
        TWO_STEPS,
        limit_s=120 * trials,
        TRIALS=str(trials),
        PROGRAM=program,
        **environment,
    )
    pattern = r"^trial \d+, \w+ step: (\d+)\n(.*?)(?=^trial |\Z)"
    steps = re.findall(pattern, job.output, re.M | re.S)
    assert 2 * trials == len(steps), job.output
    return [(int(status), output) for status, output in steps]


def test_diagnostics_side_by_side_are_right(cluster):
    for status, output in ended_steps(cluster, "/opt/jax-sif/diag/allreduce.py"):
        assert 0 == status, output
        assert 2 == output.count("has y=[2.]"), output


def test_a_plain_program_side_by_side_is_right(cluster):
    program = str(cluster.checkout / "tests/cluster/programs/plain_jax.py")

    steps = ended_steps(cluster, program, APPTAINER_BIND=str(cluster.checkout))

    for number, (status, output) in enumerate(steps):
        right = "sum 2000\n" if number % 2 else "sum 2\n"
        assert 0 == status, output
        assert 2 == output.count(right), output


@pytest.mark.parametrize(
    "second_is",
    [
        "SLURM_JOB_ID=JOB_AND_4096 SLURM_STEP_ID=0",
        "SLURM_STEP_ID=0 SLURM_RESTART_COUNT=1",
    ],
)
def test_jobs_4096_apart_and_a_run_that_overlaps_its_requeue_are_right(
    cluster, second_is
):
    steps = ended_steps(
        cluster, "/opt/jax-sif/diag/allreduce.py", 2, SECOND_IS=second_is
    )

    for status, output in steps:
        assert 0 == status, output
        assert 2 == output.count("has y=[2.]"), output


@pytest.mark.parametrize("entry", ["on", "off"])
def test_no_step_forced_onto_anothers_port_passes_with_wrong_sums(cluster, entry):
    steps = ended_steps(
        cluster,
        "/opt/jax-sif/diag/allreduce.py",
        JAX_COORDINATOR_PORT="31999",
        JAX_SIF_ENTRY=entry,
    )

    # Where the two did not happen to meet a step is right; any other must fail.
    for status, output in steps:
        right = 2 == output.count("has y=[2.]") and "foreign contribution" not in output
        assert right or 0 != status, output
