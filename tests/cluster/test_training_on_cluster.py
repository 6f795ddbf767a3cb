"""The examples that need packages of their own: a training that survives everything, and NetKet on two nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from packages import packages
from training import DISTURBANCES, Training

pytestmark = pytest.mark.cluster

SIZE = ("--steps", "160", "--batch", "64", "--width", "64", "--tell-every", "1")
OFTEN = (*SIZE, "--save-every", "5")


@pytest.fixture(scope="module")
def env(cluster) -> str:
    """The file of packages."""
    return packages(cluster)


@pytest.fixture(scope="module")
def calm(cluster, env) -> Iterator[Training]:
    """The training that nobody disturbs."""
    training = Training(cluster, env, "G4N2p4", OFTEN)
    training.submit()
    training.finish()
    yield training
    training.clean()


def test_an_undisturbed_training_learns_and_passes(calm):
    assert 1 == calm.runs
    assert list(range(1, 161)) == list(calm.losses)
    assert float(calm.losses[160]) < 0.8 * float(calm.losses[1])
    assert "PASS  G4N2p4: 4 processes on 2 nodes" in calm.output


def test_a_training_that_is_killed_again_and_again_ends_bit_by_bit_as_if_it_were_not(
    cluster, env, calm
):
    training = Training(cluster, env, "G4N2p4", OFTEN)
    chance = random.Random(6)
    training.submit()
    for how in DISTURBANCES:
        training.disturb(how, chance)
    training.finish()

    assert training.runs > 2, training.output
    assert calm.losses == training.losses
    assert calm.parameters == training.parameters
    training.clean()


def test_a_training_that_is_told_of_the_end_of_its_time_saves_and_goes_on(
    cluster, env, calm
):
    """It stops after the same step everywhere, and Slurm starts the same job again."""
    rarely = (*SIZE, "--save-every", "1000")
    training = Training(cluster, env, "G4N2p4", rarely)
    training.submit()
    job = training.job
    training.wait(lambda: len(training.losses) > 10)
    cluster.bash(f"scancel --signal=URG {job}")
    training.finish()

    stopped = re.findall(r"stopped after step (\d+)", training.output)
    assert 1 == len(stopped), training.output
    assert f"; {stopped[0]} of 160 steps done before" in training.output
    assert ", to go on\n" in training.output
    assert job == training.job
    assert calm.losses == training.losses
    assert calm.parameters == training.parameters
    training.clean()


def test_a_training_goes_on_with_other_processes_and_ends_the_same_to_rounding(
    cluster, env, calm
):
    first = Training(cluster, env, "G2N1p2", ("--steps", "80", *OFTEN[2:]))
    first.submit()
    first.finish()
    then = Training(cluster, env, "G4N2p4", OFTEN, folder=first.folder)
    then.submit()
    then.wait(lambda: then.output.count("parameters ") == 2 and then.state == "gone")

    assert "80 of 160 steps done before" in then.output
    losses = {number: float(loss) for number, loss in then.losses.items()}
    expected = {number: float(loss) for number, loss in calm.losses.items()}
    assert expected == pytest.approx(losses, rel=1e-4)
    then.clean()


NETKET = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1"; program="$1/examples/vmc_netket.py" env=$3 output=$4 topology=$5
shift 5
jax-sif job --env "$env" --output="$output" "$topology" "$program" "$@" |
  sbatch --wait --parsable > /dev/null || :
cat "$output"; rm "$output"
"""


def test_netket_finds_the_exact_energy_on_two_nodes_as_in_one_process(cluster, env):
    said = {}
    for label in ("G1N1p1", "G8N2p8"):
        done = cluster.bash(
            NETKET,
            *(str(cluster.checkout), cluster.module, env, f"vmc-{label}.out", label),
            *("--spins", "10", "--steps", "60", "--samples", "512", "--chains", "32"),
            *("--tell-every", "1", "--field", "1.5", "--alpha", "2"),
            limit_s=240,
        )
        assert f"PASS  {label}" in done.stdout, done.stdout + done.stderr
        said[label] = done.stdout

    energies, found = {}, {}
    for label, text in said.items():
        energies[label] = re.findall(r"step \d+: energy (\S+)", text)
        value, error = re.findall(r"found +(\S+) \+- (\S+)", text)[0]
        found[label] = float(value), float(error)
    assert 60 == len(energies["G8N2p8"])
    assert energies["G1N1p1"][:10] == energies["G8N2p8"][:10]
    (one, its_error), (many, their_error) = found.values()
    assert abs(one - many) <= 3 * (its_error + their_error)
