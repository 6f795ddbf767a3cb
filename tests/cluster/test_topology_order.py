"""Slurm orders tasks by its tree of switches: rank 0 is on the last node of a sorted list, and every kind of program starts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cluster import Cluster

LOAD = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1" STEP_VALUE=1
"""
# node2 stays the middle one of three, so it cannot know by itself that the others swapped.
NODES = {2: "node[1-2]", 3: "node[1-3]"}
SRUN = (
    "srun --kill-on-bad-exit=1 --unbuffered --nodelist={list} --nodes={nodes}"
    " --ntasks-per-node=2 --gpus-per-node=2"
)


@pytest.fixture(scope="module")
def switched(cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of three nodes, each below a switch of its own, the last one first."""
    started = replace(cluster, state=tmp_path_factory.mktemp("switches") / "state")
    subprocess.run(
        started.minicluster("up", "--nodes", "3", "--reversed-switches"), check=True
    )
    yield started
    subprocess.run(started.minicluster("down", "--purge"), check=True)


def run(switched: Cluster, nodes: int, rest: str) -> str:
    """What the ranks print; all must end well."""
    command = SRUN.format(list=NODES[nodes], nodes=nodes)
    done = switched.bash(
        f"{LOAD}{command} {rest}", str(switched.checkout), switched.module, limit_s=300
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("nodes", NODES)
def test_slurm_puts_rank_0_on_the_last_node(switched, nodes):
    shown = run(switched, nodes, """sh -c 'echo "$SLURM_PROCID $SLURMD_NODENAME"'""")

    assert [f"0 node{nodes}", f"1 node{nodes}"] == sorted(shown.splitlines())[:2]


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("start", ["run", "exec"])
def test_a_program_of_the_kit_starts(switched, nodes, start):
    """`exec` does not pass through the entry, whose rule is the kit's own, too."""
    program = 'python "$1/tests/cluster/programs/user_program.py"'

    shown = run(switched, nodes, f"singularity --quiet {start} $JAX_IMAGE {program}")

    assert 2 * nodes == shown.count(f": {2 * nodes}\n"), shown


@pytest.mark.parametrize("nodes", NODES)
def test_a_program_without_the_kit_starts(switched, nodes):
    program = 'python "$1/tests/cluster/programs/plain_jax.py"'

    shown = run(switched, nodes, f"singularity --quiet run $JAX_IMAGE {program}")

    assert 2 * nodes == shown.count(f"of {2 * nodes}: sum {2 * nodes}\n"), shown


def test_the_all_reduce_job_passes(switched):
    job = switched.submit("allreduce", "--nodelist=node[1-2]")

    assert 0 == job.status, job.output
    assert job.verdict.startswith("PASS  G8N2p8"), job.output
    table = [line.split()[:2] for line in job.output.splitlines()]
    for rank in range(8):
        assert [str(rank), "node2" if rank < 4 else "node1"] in table


def test_files_of_where_rank_0_is_are_few_and_private(switched):
    look = (
        "stat -c %a ~/.config/jax-sif/rank-0-hosts; ls ~/.config/jax-sif/rank-0-hosts"
    )
    run(switched, 3, "singularity --quiet run $JAX_IMAGE true")

    mode, *names = switched.bash(look).stdout.split()

    assert "700" == mode
    # The steps of three nodes above, none of them torn.
    assert names and all(name.count(".") == 5 for name in names)
