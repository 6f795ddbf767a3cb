"""`jax-sif launch` in the image, with real JAX: the verdict, and the same variables as from the real srun."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil

LOAD = 'cd; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"\n'
VERIFIED = """
program=/opt/jax-sif/diag/allreduce.py
jax-sif launch $3 -- python "$program" |& jax-sif verify
"""
NO_IPV6 = """
jax-sif launch G2N1p2 -- python "$1/tests/helpers/no_ipv6.py" python /opt/jax-sif/diag/allreduce.py \\
  |& jax-sif verify
"""
# As many GPUs as srun gives to both nodes; no process opens them.
VARIABLES = """
folder=$1/build/launch-test; mkdir -p "$folder"
show='env -0 > "$0/$1-$SLURM_PROCID"'
srun --nodes=2 --ntasks-per-node=2 --gpus-per-node=2 --cpus-per-task=1 \
  sh -c "$show" "$folder" srun
unset JAX_PLATFORMS; export CUDA_VISIBLE_DEVICES=0,1,2,3
jax-sif launch --devices gpu G4N2p4 -- sh -c "$show" "$folder" launch
"""

# By their nature: who runs, when, where.
OTHER_VALUES = {
    "SLURM_CLUSTER_NAME",
    "SLURM_CPUS_ON_NODE",
    "SLURM_CPUS_PER_TASK",
    "SLURM_JOBID",
    "SLURM_JOB_CPUS_PER_NODE",
    "SLURM_JOB_GID",
    "SLURM_JOB_ID",
    "SLURM_JOB_START_TIME",
    "SLURM_JOB_UID",
    "SLURM_JOB_USER",
    # Both count their own GPUs; those of an emulated node begin behind the one before.
    "CUDA_VISIBLE_DEVICES",
    "SLURM_STEP_GPUS",
}
# What only Slurm's own daemons could mean, or what belongs to the job's accounting.
ONLY_SRUN = {
    "SLURM_CONF",
    "SLURMD_DEBUG",
    "SLURM_JOB_END_TIME",
    "SLURM_JOB_GROUP",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_SLUID",
    "SLURM_LAUNCH_NODE_IPADDR",
    "SLURM_OOM_KILL_STEP",
    "SLURM_PRIO_PROCESS",
    "SLURM_SCRIPT_CONTEXT",
    "SLURM_SRUN_COMM_HOST",
    "SLURM_SRUN_COMM_PORT",
    "SLURM_STEP_LAUNCHER_PORT",
    "SLURM_TASK_PID",
    "SLURM_TOPOLOGY_ADDR",
    "SLURM_TOPOLOGY_ADDR_PATTERN",
    "SLURM_TRES_PER_TASK",
    "SLURM_UMASK",
}


def run(cluster, script: str, *words: str):
    return cluster.bash(LOAD + script, str(cluster.checkout), cluster.module, *words)


def test_ranks_posing_as_two_nodes_prove_their_peers_and_leave_no_certificates(cluster):
    done = run(cluster, f"{VERIFIED} ls /dev/shm >&2", "G4N2p4")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(
        "PASS  G4N2p4: 4 processes on 2 nodes (node1, node2), 4 cpu devices"
    )
    assert "not authenticated" not in done.stdout
    assert "jax-sif-local" not in done.stderr


def test_a_kernel_without_ipv6_starts_a_group_all_the_same(cluster):
    done = run(cluster, NO_IPV6)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("PASS  G2N1p2")


def test_a_stalled_rank_is_named_by_the_verdict(cluster):
    # The others wait for it as long as a rank may be late.
    limited = f"export JAX_SIF_DEADLINE_S=5\n{VERIFIED}"

    done = run(cluster, limited, "G4N2p4 --stall-rank 3")

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "rank 3 on node2" in done.stdout.splitlines()[-1]


def test_the_variables_are_those_of_srun_but_for_what_differs_on_purpose(cluster):
    folder = cluster.checkout / "build/launch-test"
    try:
        done = run(cluster, VARIABLES)
        assert 0 == done.returncode, done.stdout + done.stderr
        for rank in range(4):
            srun, launch = (
                slurms((folder / f"{who}-{rank}").read_text())
                for who in ("srun", "launch")
            )
            assert ONLY_SRUN == set(srun) - set(launch)
            assert set() == set(launch) - set(srun)
            assert {} == {
                name: (srun[name], launch[name])
                for name in set(launch) - OTHER_VALUES
                if srun[name] != launch[name]
            }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def slurms(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in text.split("\0") if item)
    return {
        name: value
        for name, _, value in pairs
        if name.startswith("SLURM") or name == "CUDA_VISIBLE_DEVICES"
    }
