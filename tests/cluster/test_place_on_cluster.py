"""initialize_distributed() under the real srun, with real JAX: what each rank gets, with and without the image's entry."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

RUN = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1" JAX_SIF_TOPOLOGY="$3"
program=$1/tests/cluster/programs/prints_rank.py how=$4; shift 4
srun --quiet --kill-on-bad-exit=1 --unbuffered --nodes=2 "$@" \
  singularity "$how" --nv "$JAX_IMAGE" python "$program"
"""
TWO_TASKS = "--ntasks-per-node=2"


@pytest.mark.parametrize(
    ("how", "label", "options", "gpus"),
    [
        ("run", "G4N2p2", ("--ntasks-per-node=1", "--gpus-per-node=2"), ["0,1"]),
        ("run", "G4N2p4", (TWO_TASKS, "--gres=gpu:2"), ["0", "1"]),
        # Each task sees one GPU.
        ("run", "G4N2p4", (TWO_TASKS, "--gpus-per-task=1"), ["0", "0"]),
        # Without the entry no other program makes a port or shares out devices.
        ("exec", "G4N2p4", (TWO_TASKS, "--gpus-per-node=a100:2"), ["0", "1"]),
    ],
)
def test_each_rank_gets_its_place(cluster, how, label, options, gpus):
    done = cluster.bash(
        RUN, str(cluster.checkout), cluster.module, label, how, *options
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    tasks = len(gpus)
    assert [
        f"process {tasks * node + task} of {2 * tasks} on node{node + 1}, local devices"
        f" {2 // tasks}, global devices 4 (Slurm, {label}, GPUs {gpus[task]})"
        for node in range(2)
        for task in range(tasks)
    ] == sorted(x for x in done.stdout.splitlines() if x.startswith("process "))
