"""The four jobs on a real Slurm, as they are: they pass, and each fault fails with rank and node named."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.core.topology import parse_topology

# job -> its topology
JOBS = {
    "G4N1p4": "G4N1p4",
    "G4N2p2": "G4N2p2",
    "G4N2p4": "G4N2p4",
    "allreduce": "G8N2p8",
}
# Where two nodes are free, either may get a job of one.
OPTIONS = {"G4N1p4": ("--nodelist=node1",)}
each_job = pytest.mark.parametrize("name", JOBS)


def last_rank(name: str) -> int:
    return parse_topology(JOBS[name]).processes - 1


@each_job
def test_the_job_passes(cluster, name):
    job = cluster.submit(name, *OPTIONS.get(name, ()))

    assert 0 == job.status, job.output
    assert job.verdict.startswith(f"PASS  {JOBS[name]}: ")
    assert [] == job.findings
    assert "@jaxsif2" not in job.output


def test_the_lines_that_people_know_are_there(cluster):
    query = cluster.submit("G4N2p2").output
    reduce = cluster.submit("allreduce").output

    assert 2 == query.count("# Local devices: [ 2 ], [")
    assert 2 == query.count("# Global devices:[ 4 ], [")
    assert 8 == reduce.count("Total devices: 8  |  Devices per task: 1\n")
    assert all(f"Process {rank} has y=[8.]\n" in reduce for rank in range(8))


@each_job
def test_a_rank_that_leaves_is_named(cluster, name):
    job = cluster.submit(name, *OPTIONS.get(name, ()), program="last_rank_leaves.py")

    assert 1 == job.status, job.output
    assert ("rank-exited", [last_rank(name)]) == job.cause
    assert "rank-missing" in job.kinds


@each_job
def test_a_topology_that_disagrees_fails(cluster, name):
    job = cluster.submit(name, *OPTIONS.get(name, ()), JAX_SIF_TOPOLOGY="G6N2p6")

    assert 1 == job.status, job.output
    assert job.verdict.startswith("FAIL  ") and "G6N2p6" in job.verdict
    # Before any rank has started.
    assert "ranks started" not in job.output


@each_job
def test_a_rank_with_wrong_numbers_is_named(cluster, name):
    job = cluster.submit(name, *OPTIONS.get(name, ()), program="last_rank_wrong.py")

    assert 1 == job.status, job.output
    assert ("foreign-peer", [last_rank(name)]) == job.cause


def test_options_of_the_site_still_apply(cluster):
    job = cluster.submit("G4N1p4", "-p", "gpu", "--constraint=a100", "--time=5")

    assert 0 == job.status, job.output


def test_a_missing_image_ends_the_job_with_its_name(cluster):
    done = cluster.bash(
        'cd; JAX_IMAGE=/no/such.sif PATH="$1/bin:$PATH" '
        'sbatch --quiet --wait --output=missing.out "$1/jobs/G4N1p4.slurm" && exit 99;'
        "cat missing.out",
        str(cluster.checkout),
    )

    assert 0 == done.returncode, done.stderr
    assert "cannot read the image '/no/such.sif'" in done.stdout
