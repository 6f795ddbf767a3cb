"""The examples that need packages of their own: a training that survives everything, and NetKet on two nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from training import Training

HOME = Path("/home/hpc")
STEPS = 120
SIZE = ("--steps", str(STEPS), "--batch", "64", "--width", "64", "--print-every", "1")
HALF = STEPS // 2


def saved_every(steps: int) -> tuple[str, ...]:
    return (*SIZE, "--save-every", str(steps))


@pytest.fixture(scope="module")
def calm(cluster, env) -> Iterator[Training]:
    """The training without a disturbance."""
    training = Training(cluster, env, "G4N2p4", saved_every(HALF))
    training.submit()
    training.finish()
    yield training
    training.clean()


@pytest.fixture(scope="module")
def disturbed(cluster, env) -> Iterator[Training]:
    """One that is notified of the end of its time, loses a rank, and makes way for another;
    benchmarks/kills.py does so at random moments, 20 times."""
    training = Training(cluster, env, "G4N2p4", saved_every(11))
    training.submit()
    for run, how in enumerate(("notified", "rank killed", "preempted"), start=1):
        training.wait(lambda run=run: training.runs == run)
        goal = len(training.losses) + 10
        training.wait(lambda goal=goal: len(training.losses) >= goal)
        training.strike(how, random.Random(6))
    training.finish()
    yield training
    training.clean()


def test_an_undisturbed_training_learns_and_passes(calm):
    assert 1 == calm.runs
    assert list(range(1, STEPS + 1)) == list(calm.losses)
    assert float(calm.losses[STEPS]) < 0.8 * float(calm.losses[1])
    assert "PASS  G4N2p4: 4 processes on 2 nodes" in calm.output


def test_a_training_that_is_notified_of_its_time_limit_saves_and_goes_on(disturbed):
    """It stops after the same step everywhere, and Slurm starts the same job again."""
    stopped = re.findall(r"stopped after step (\d+)", disturbed.output)
    begun = re.findall(r"; (\d+) of \d+ steps done before", disturbed.output)
    jobs = re.findall(r"^job (\d+), G4N2p4 ", disturbed.output, re.M)

    assert 1 == len(stopped), disturbed.output
    assert ["0", *stopped] == begun[:2]
    assert ", requeue requested\n" in disturbed.output
    assert jobs[0] == jobs[1]


def test_a_training_that_is_interrupted_again_and_again_ends_bit_by_bit_the_same(
    disturbed, calm
):
    assert 4 == disturbed.runs, disturbed.output
    assert calm.losses == disturbed.losses
    assert calm.parameters == disturbed.parameters


def test_a_training_goes_on_with_other_processes_and_ends_the_same_to_rounding(
    cluster, env, calm
):
    training = Training(cluster, env, "G2N1p2", saved_every(HALF))
    training.begin_with(calm, HALF)
    training.submit()
    training.finish()

    assert f"{HALF} of {STEPS} steps done before" in training.output
    losses = {number: float(loss) for number, loss in training.losses.items()}
    expected = {number: float(calm.losses[number]) for number in losses}
    assert list(range(HALF + 1, STEPS + 1)) == list(losses)
    assert expected == pytest.approx(losses, rel=1e-4)
    training.clean()


NETKET = """cd; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"
program="$1/examples/vmc_netket.py" env=$3; shift 3
jax-sif job --packages "$env" G8N2p8 "$program" "$@" > vmc.slurm
JAX_DISABLE_MOST_OPTIMIZATIONS=1 jax-python --packages "$env" "$program" "$@"
"""
# A strong field: few steps find the ground state, to 1 part in 100,000.
CHAIN = ("--spins", "8", "--field", "3", "--alpha", "1", "--steps", "15")
SAMPLES = ("--samples", "512", "--chains", "32", "--print-every", "1")


def test_netket_finds_the_exact_energy_on_two_nodes_as_in_one_process(cluster, env):
    """The program itself ends with 1 when that is more than three error bars away."""
    words = (str(cluster.checkout), cluster.module, env, *CHAIN, *SAMPLES)
    alone = cluster.bash(NETKET, *words, limit_s=240)
    job = cluster.submit(
        HOME / "vmc.slurm",
        APPTAINER_BIND=str(cluster.checkout),
        # Most of the time is compilation, by eight processes on a few cores.
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )

    assert 0 == alone.returncode, alone.stdout + alone.stderr
    assert 0 == job.status, job.output
    assert job.verdict.startswith("PASS  G8N2p8: 8 processes on 2 nodes")
    one, many = (TrainingOutput(text) for text in (alone.stdout, job.output))
    assert 15 == len(many.energies)
    assert one.energies[:10] == many.energies[:10]
    assert abs(one.energy - many.energy) <= 3 * (one.error + many.error)
    assert many.error < 1e-3


class TrainingOutput:
    """What the program has printed: the energy of each step, and the last one."""

    def __init__(self, output: str) -> None:
        self.energies = re.findall(r"step \d+: energy (\S+)", output)
        ((energy, error),) = re.findall(r"found +(\S+) \+- (\S+)", output)
        self.energy, self.error = float(energy), float(error)
