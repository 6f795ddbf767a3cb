"""Programs that say themselves where they meet, as JAX's tutorial does: they work unchanged, however their processes are started."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

LOAD = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1" JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=2
program=$1/tests/cluster/programs/own_coordinator.py
starter=$1/tests/cluster/programs/starter.py
"""
RUN = "singularity --quiet run $JAX_IMAGE"
SRUN = "srun --kill-on-bad-exit=1"
# Every way to start four processes.
WAYS = {
    "srun": f"{SRUN} --nodes=1 --ntasks=4 {RUN} sh -c"
    ' \'python "$0" localhost:10000 4 $SLURM_PROCID\' "$program"',
    "srun on two nodes": f"{SRUN} --nodes=2 --ntasks-per-node=2 {RUN} sh -c"
    ' \'python "$0" node1:10001 4 $SLURM_PROCID\' "$program"',
    # MPI-like numbering of its own: rank 0 is where srun has the last.
    "another order": f"{SRUN} --nodes=2 --ntasks-per-node=2 {RUN} sh -c"
    ' \'python "$0" node2:10002 4 $((3 - SLURM_PROCID))\' "$program"',
    "launch": "jax-sif launch G8N2p4 -- sh -c"
    ' \'python "$0" localhost:10003 4 $SLURM_PROCID\' "$program"',
    "a starter in each task": f"{SRUN} --nodes=2 --ntasks-per-node=1 {RUN} sh -c"
    ' \'python "$0" node1:10004 4 $((2 * SLURM_PROCID)) 2\' "$starter"',
    "a starter in one task": f"{SRUN} --nodes=1 --ntasks=1 {RUN}"
    ' python "$starter" localhost:10005 4 0 4',
}


@pytest.mark.parametrize("way", WAYS)
def test_it_finds_its_processes(cluster, way):
    """JAX waited for 300 s: it bound the port of the kit and dialled the program's."""
    done = cluster.bash(LOAD + WAYS[way], str(cluster.checkout), cluster.module)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert sorted(f"process {n} of 4: sum 2222" for n in range(4)) == sorted(
        line for line in done.stdout.splitlines() if line.startswith("process ")
    )


@pytest.mark.parametrize("where", ["srun on two nodes", "launch"])
def test_an_address_of_the_users_environment_stays(cluster, where):
    ways = {
        "srun on two nodes": f"{SRUN} --nodes=2 --ntasks-per-node=2 {RUN}",
        "launch": "jax-sif launch G8N2p4 --",
    }
    address = {"srun on two nodes": "node1:10007", "launch": "localhost:10008"}[where]
    script = f"export STEP_VALUE=1 JAX_COORDINATOR_ADDRESS={address}\n" + (
        f'{ways[where]} python "$1/tests/cluster/programs/plain_jax.py"'
    )

    done = cluster.bash(LOAD + script, str(cluster.checkout), cluster.module)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert 4 == done.stdout.count("of 4: sum 8\n"), done.stdout
