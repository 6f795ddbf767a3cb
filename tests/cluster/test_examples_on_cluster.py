"""The examples and jaxsif.arrays on a real Slurm: their jobs as they are, and two nodes agree with one process."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOME = Path("/home/hpc")
LOAD = 'cd; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"\n'
ARRAYS = """
rm -rf arrays-test; mkdir arrays-test
jax-sif job --packages "$3" G4N2p4 "$1/tests/cluster/programs/arrays.py" arrays-test
"""
# Ranks that pose as a node of another kind, and read what those of Slurm have written.
OTHER_ARRAYS = """
jax-sif launch --packages "$3" G4N1p2 -- \\
  python "$1/tests/cluster/programs/arrays.py" arrays-test
"""
WITHOUT_ORBAX = """
jax-python -c 'from jaxsif import arrays
arrays.save("no-orbax", {})'
"""
ONE_PROCESS = """
jax-python examples/svgd.py --posterior regression --save one.npy
jax-python -c 'import numpy as np
eight, one = np.load("particles.npy"), np.load("one.npy")
assert eight.shape == one.shape == (256, 3)
print("largest difference", np.abs(eight - one).max())'
"""
# With 64 bits an error would stay, and rounding goes.
RING = """
export JAX_ENABLE_X64=1
jax-sif launch G4N2p2 -- python examples/svgd.py --exchange ring --steps 50 --compare
"""


@pytest.fixture(scope="module", autouse=True)
def copied(cluster) -> None:
    """The examples in the user's home, from where their jobs are submitted."""
    done = cluster.run("cp", "-r", cluster.checkout / "examples", HOME)
    assert 0 == done.returncode, done.stderr


def run(cluster, script: str, *words: str, limit_s: float = 240):
    arguments = str(cluster.checkout), cluster.module, *words
    return cluster.bash(LOAD + script, *arguments, limit_s=limit_s)


def figure(text: str, before: str) -> float:
    """The number behind some words."""
    (found,) = re.findall(rf"{before} ([0-9.e+-]+)", text)
    return float(found)


def test_the_arrays_job_passes_and_shows_which_rank_holds_what(cluster):
    job = cluster.submit(HOME / "examples/arrays.slurm")

    assert 0 == job.status, job.output
    assert job.verdict.startswith("PASS  G8N2p8: 8 processes on 2 nodes (node1, node2)")
    for line in (
        "the three ways make the same array",
        "array: float32[16, 4], P('device') on 8 devices, mesh device=8",
        "  rank 7 holds [14:16, 0:4]",
        "the product is that of one process; its trace is 85344",
        "saved to arrays-example/product.npy, and loaded by columns",
    ):
        assert job.output.splitlines().count(line) == 1, (line, job.output)


def test_the_job_of_one_process_with_four_devices_agrees_with_one_device(cluster):
    job = cluster.submit(HOME / "examples/multi_gpu.slurm")

    assert 0 == job.status, job.output
    assert job.verdict.startswith("PASS  G4N1p1: 1 process on 1 node")
    assert "each of 4 devices has 1024 of 4096 samples" in job.output
    assert figure(job.output, "largest difference from one device:") < 1e-5


def test_the_svgd_job_finds_the_posterior_and_agrees_with_one_process(cluster):
    job = cluster.submit(HOME / "examples/svgd.slurm")
    alone = run(cluster, ONE_PROCESS)

    assert 0 == job.status, job.output
    assert job.verdict.startswith("PASS  G8N2p8: 8 processes on 2 nodes (node1, node2)")
    assert "256 particles on 8 devices of 8 processes, all-gather" in job.output
    assert figure(job.output, "the mean is off by") < 0.02
    assert figure(job.output, "the covariance is off by") < 6
    assert figure(job.output, "from one device is") < 1e-6
    assert 0 == alone.returncode, alone.stderr
    assert figure(alone.stdout, "largest difference") < 1e-6


def test_particles_that_go_round_a_ring_differ_by_rounding_alone(cluster):
    done = run(cluster, RING)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "on 4 devices of 2 processes, ring" in done.stdout
    assert figure(done.stdout, "from one device is") < 1e-12


def test_particles_that_do_not_divide_are_refused_with_a_number_that_does(cluster):
    done = run(
        cluster, "jax-sif launch G2N1p2 -- python examples/svgd.py --particles 255"
    )

    assert 1 == done.returncode
    assert "--particles 255 does not divide over 2 devices; use --particles 256" in (
        done.stderr
    )


def test_arrays_keep_their_promises_on_two_nodes_and_on_another_topology(cluster, env):
    """Checkpoints among them, which orbax writes."""
    rendered = run(cluster, ARRAYS, env)
    assert 0 == rendered.returncode, rendered.stderr
    script = HOME / "arrays-test.slurm"
    cluster.run("tee", script, text_in=rendered.stdout)
    job = cluster.submit(script, APPTAINER_BIND=str(cluster.checkout))
    other = run(cluster, OTHER_ARRAYS, env)

    assert 0 == job.status, job.output
    assert job.verdict.startswith("PASS  G4N2p4")
    assert 0 == other.returncode, other.stdout + other.stderr
    for ranks, output in ((4, job.output), (2, other.stdout)):
        for rank in range(ranks):
            assert f"rank {rank} of {ranks}: arrays are as they should be" in output


def test_a_checkpoint_without_orbax_is_refused_with_what_to_do(cluster):
    done = run(cluster, WITHOUT_ORBAX)

    assert 1 == done.returncode
    assert "save() needs orbax-checkpoint, which is not here" in done.stderr
    assert "jax-sif packages create my.sqsh orbax-checkpoint; or use save_npy()" in (
        done.stderr
    )
