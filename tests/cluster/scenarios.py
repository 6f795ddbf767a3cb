"""Ways to start a program with Slurm, and what each rank must then find out: a table for record_environments.py."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

# Nothing here comes from the kit. Which node and which GPUs are a rank's follows from the
# options, by Slurm's and MPI's manuals: the numbers are those of the node's own GPUs, 0 to
# 3, and the recorder turns them into places within what the rank was seen to see.


@dataclass(frozen=True)
class Scenario:
    """One way to start a program.

    `script` runs with bash on the login node; $SHOW is the program, `job` hands its input
    to sbatch and waits. `ranks` has for each rank, in order, its node, its number there
    and the node's GPUs that are its own ("-": none). `error` is, where no group can be
    joined, what the message must name.
    """

    name: str
    title: str
    script: str
    ranks: tuple[str, ...]
    launcher: str = "Slurm"
    rank_variable: str = "SLURM_PROCID"
    error: str | None = None
    # Where it is another than the node of rank 0.
    coordinator_host: str | None = None


def srun(name: str, title: str, options: str, *ranks: str) -> Scenario:
    """A step that is a job of its own."""
    return Scenario(name, title, f"srun --quiet {options} $SHOW", ranks)


ONE, BOTH = "--nodes=1", "--nodes=2"
A_GPU_EACH = tuple(f"node{n} {i} {i}" for n in (1, 2) for i in range(4))
TWO_ON_EACH = ("node1 0 0", "node1 1 1", "node2 0 0", "node2 1 1")
FOUR_ON_ONE = tuple(f"node1 {i} {i}" for i in range(4))

GPUS = (
    srun(
        "gpus-per-node-4",
        "four tasks with a GPU each on two nodes",
        f"{BOTH} --ntasks-per-node=4 --gpus-per-node=4",
        *A_GPU_EACH,
    ),
    srun(
        "gpus-per-node-2",
        "half of each node",
        f"{BOTH} --ntasks-per-node=2 --gpus-per-node=2",
        *TWO_ON_EACH,
    ),
    srun(
        "one-task-a-node",
        "a task has all GPUs of its node",
        f"{BOTH} --ntasks-per-node=1 --gpus-per-node=4",
        "node1 0 0,1,2,3",
        "node2 0 0,1,2,3",
    ),
    srun(
        "two-gpus-a-task",
        "two tasks share four GPUs",
        f"{BOTH} --ntasks-per-node=2 --gpus-per-node=4",
        *("node1 0 0,1", "node1 1 2,3", "node2 0 0,1", "node2 1 2,3"),
    ),
    srun(
        "gpus-per-node-typed",
        "GPUs by their type",
        f"{BOTH} --ntasks-per-node=2 --gpus-per-node=a100:2",
        *TWO_ON_EACH,
    ),
    srun(
        "gres",
        "GPUs as generic resources",
        f"{BOTH} --ntasks-per-node=2 --gres=gpu:2",
        *TWO_ON_EACH,
    ),
    srun(
        "gres-typed",
        "generic resources with a type",
        f"{ONE} --ntasks=2 --gres=gpu:a100:4",
        *("node1 0 0,1", "node1 1 2,3"),
    ),
    srun(
        "gpus-in-all",
        "GPUs counted over the job: Slurm gives one node two of three, the other one",
        f"{BOTH} --ntasks=2 --gpus=3",
        *("node1 0 0,1", "node2 0 0"),
    ),
    srun(
        "gpus-per-task-1",
        "Slurm binds one GPU to each task",
        f"{ONE} --ntasks=4 --gpus-per-task=1",
        *FOUR_ON_ONE,
    ),
    srun(
        "gpus-per-task-2",
        "Slurm binds two GPUs to each task, on two nodes",
        f"{BOTH} --ntasks-per-node=2 --gpus-per-task=2",
        *("node1 0 0,1", "node1 1 2,3", "node2 0 0,1", "node2 1 2,3"),
    ),
    srun(
        "tres-per-task",
        "the newer name of --gpus-per-task",
        f"{ONE} --ntasks=4 --tres-per-task=gres/gpu:1",
        *FOUR_ON_ONE,
    ),
    srun(
        "gpus-per-task-unbound",
        "GPUs are counted per task, and every task sees all of them",
        f"{ONE} --ntasks=4 --gpus-per-task=1 --gpu-bind=none",
        *FOUR_ON_ONE,
    ),
    srun(
        "gpu-bind-single",
        "one GPU for one task",
        f"{ONE} --ntasks=4 --gpus-per-node=4 --gpu-bind=single:1",
        *FOUR_ON_ONE,
    ),
    srun(
        "gpu-bind-per-task",
        "two GPUs for one task",
        f"{ONE} --ntasks=2 --gpus-per-node=4 --gpu-bind=per_task:2",
        *("node1 0 0,1", "node1 1 2,3"),
    ),
    srun(
        "gpu-bind-map",
        "the user says which GPU is whose",
        f"{ONE} --ntasks=2 --gpus-per-node=4 --gpu-bind=map_gpu:3,1",
        *("node1 0 3", "node1 1 1"),
    ),
    srun(
        "gpu-bind-mask",
        "the user says which GPUs are whose",
        f"{ONE} --ntasks=2 --gpus-per-node=4 --gpu-bind=mask_gpu:0xc,0x3",
        *("node1 0 2,3", "node1 1 0,1"),
    ),
    srun(
        "gpu-bind-closest",
        "every GPU of the mini cluster is as close as any other",
        f"{ONE} --ntasks=4 --gpus-per-node=4 --gpu-bind=closest",
        *FOUR_ON_ONE,
    ),
    srun(
        "gpu-bind-none",
        "binding refused",
        f"{ONE} --ntasks=4 --gpus-per-node=4 --gpu-bind=none",
        *FOUR_ON_ONE,
    ),
    srun(
        "more-tasks-than-gpus",
        "four tasks take turns on two GPUs",
        f"{ONE} --ntasks=4 --gpus-per-node=2",
        *("node1 0 0", "node1 1 1", "node1 2 0", "node1 3 1"),
    ),
    srun(
        "no-gpus",
        "tasks without a GPU",
        "--ntasks=3",
        *(f"node1 {i} -" for i in range(3)),
    ),
    srun(
        "cpus-per-task",
        "several CPUs for each task",
        f"{BOTH} --ntasks-per-node=1 --cpus-per-task=4 --gpus-per-node=1",
        *("node1 0 0", "node2 0 0"),
    ),
    Scenario(
        "partly-allocated-node",
        "another job has the first two GPUs of the node",
        "holder=$(sbatch --parsable --nodelist=node1 --gpus-per-node=2 --output=/dev/null"
        " --wrap='sleep 60')\n"
        "until [[ $(squeue --noheader --jobs=$holder --format=%T) == RUNNING ]]; do sleep 0.2; done\n"
        "srun --nodelist=node1 --ntasks=2 --gpus-per-node=2 $SHOW\n"
        "scancel $holder",
        ("node1 0 2", "node1 1 3"),
    ),
)

PLACES = (
    srun(
        "cyclic",
        "ranks go round the nodes",
        f"{BOTH} --ntasks-per-node=2 --gpus-per-node=2 --distribution=cyclic",
        *("node1 0 0", "node2 0 0", "node1 1 1", "node2 1 1"),
    ),
    srun(
        "uneven",
        "three tasks on two nodes",
        f"{BOTH} --ntasks=3 --gpus-per-node=4 --distribution=plane=2",
        *("node1 0 0,1", "node1 1 2,3", "node2 0 0,1,2,3"),
    ),
    Scenario(
        "arbitrary",
        "the user's host file says which task goes where; rank 0 is not on the first node",
        "printf 'node2\\nnode1\\nnode2\\n' > hosts\n"
        "SLURM_HOSTFILE=$PWD/hosts srun --ntasks=3 --distribution=arbitrary $SHOW\n"
        "rm hosts",
        ("node2 0 -", "node1 0 -", "node2 1 -"),
    ),
    Scenario(
        "heterogeneous",
        "one step over both components of a job",
        "srun --nodelist=node1 --ntasks=2 --gpus-per-node=2 : --nodelist=node2 --ntasks=1"
        " --gpus-per-node=2 $SHOW",
        ("node1 0 0", "node1 1 1", "node2 0 0,1"),
    ),
    Scenario(
        "heterogeneous-unsorted",
        "Slurm's list does not begin with the node of the first component",
        "srun --nodelist=node2 --ntasks=2 : --nodelist=node1 --ntasks=1 $SHOW",
        ("node2 0 -", "node2 1 -", "node1 0 -"),
        error="JAX_COORDINATOR_ADDRESS",
    ),
    Scenario(
        "relative",
        "a step on the second node of the job",
        'job "srun --nodes=1 --relative=1 --ntasks=2 $SHOW" --nodes=2'
        " --ntasks-per-node=2 --gpus-per-node=2",
        ("node2 0 0", "node2 1 1"),
    ),
    Scenario(
        "one-task-of-a-larger-job",
        "a step of one task in a job of four",
        'job "srun --nodes=1 --ntasks=1 $SHOW" --nodes=2 --ntasks-per-node=2'
        " --gpus-per-node=2",
        ("node1 0 0,1",),
    ),
    Scenario(
        "second-step",
        "the second of two steps side by side, each with a part of the node",
        'step="srun --exact --ntasks=2 --gpus-per-node=2"\n'
        'job "$step sleep 8 & sleep 2; $step $SHOW; wait" --nodes=1 --ntasks=4'
        " --gpus-per-node=4",
        ("node1 0 2", "node1 1 3"),
    ),
    Scenario(
        "overlapping-step",
        "a step that shares everything with another",
        'job "srun --overlap sleep 8 & sleep 2; srun --overlap $SHOW; wait" --nodes=2'
        " --ntasks-per-node=1 --gpus-per-node=4",
        ("node1 0 0,1,2,3", "node2 0 0,1,2,3"),
    ),
    Scenario(
        "restarted",
        "the second run of a job that was put back into the queue",
        r'job "[[ \${SLURM_RESTART_COUNT:-} ]] || { scontrol requeue \$SLURM_JOB_ID;'
        ' sleep 99; }; srun $SHOW" --requeue --nodes=2 --ntasks-per-node=1'
        " --gpus-per-node=1",
        ("node1 0 0", "node2 0 0"),
    ),
    Scenario(
        "array",
        "a task of a job array",
        'job "srun $SHOW" --array=7 --nodes=1 --ntasks=2 --gpus-per-node=2',
        ("node1 0 0", "node1 1 1"),
    ),
    srun(
        "export-none",
        "nothing of the user's environment",
        f"{BOTH} --ntasks-per-node=2 --gpus-per-node=2 --export=NONE",
        *TWO_ON_EACH,
    ),
)

NOT_UNDER_SRUN = "not-under-srun"

WITHOUT_SRUN = (
    Scenario(
        "batch-script",
        "a program in a batch script of four tasks, without srun",
        'job "$SHOW" --nodes=2 --ntasks-per-node=2 --gpus-per-node=2',
        ("node1 0 -",),
        launcher="none",
        error=NOT_UNDER_SRUN,
    ),
    Scenario(
        "batch-script-of-one",
        "a program in a batch script of one task, without srun; JAX takes all GPUs",
        'job "$SHOW" --ntasks=1 --gpus-per-node=2',
        ("node1 0 -",),
        launcher="none",
    ),
    Scenario(
        "salloc-shell",
        "a program in salloc's shell on the login node, without srun",
        "salloc --quiet --nodes=2 --ntasks-per-node=2 --gpus-per-node=2 $SHOW",
        ("login 0 -",),
        launcher="none",
        rank_variable="",
        error=NOT_UNDER_SRUN,
    ),
    Scenario(
        "interactive-step",
        "a program in the shell that salloc opens on a node, in a job of four tasks",
        "salloc --quiet --nodes=2 --ntasks-per-node=2 --gpus-per-node=2"
        " srun --interactive --preserve-env $SHOW",
        ("node1 0 -",),
        launcher="none",
        error=NOT_UNDER_SRUN,
    ),
    Scenario(
        "interactive-step-of-one",
        "a program in the shell that salloc opens on a node, in a job of one task",
        "salloc --quiet --ntasks=1 --gpus-per-node=2"
        " srun --interactive --preserve-env $SHOW",
        ("node1 0 -",),
        launcher="none",
    ),
    Scenario(
        "terminal",
        "a program on the login node, without anything",
        "$SHOW",
        ("login 0 -",),
        launcher="none",
        rank_variable="",
    ),
)

LAUNCH = (
    Scenario(
        "launch",
        "jax-sif launch, which poses as two nodes with CPU devices",
        "$LAUNCH G8N2p4 --devices cpu -- $SHOW",
        ("node1 0 -", "node1 1 -", "node2 0 -", "node2 1 -"),
        launcher="jax-sif launch",
        coordinator_host="127.0.0.1",
    ),
)

SLURM_SCENARIOS = (*GPUS, *PLACES, *WITHOUT_SRUN, *LAUNCH)
