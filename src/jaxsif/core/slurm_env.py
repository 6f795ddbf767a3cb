"""Names of Slurm's variables, and a rank's identity: job, step, restart, rank, node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

# Variables of `srun` that the kit reads; only this module names variables of Slurm.
# (The image's entry and local_devices.sh, which must start in milliseconds, use the
# shell's environment directly.)
CLUSTER = "SLURM_CLUSTER_NAME"
JOB_ID = "SLURM_JOB_ID"
STEP_ID = "SLURM_STEP_ID"
RESTART_COUNT = "SLURM_RESTART_COUNT"
RANK = "SLURM_PROCID"
PROCESSES = "SLURM_NTASKS"
LOCAL_RANK = "SLURM_LOCALID"
NODE_NAME = "SLURMD_NODENAME"
STEP_NODE_LIST = "SLURM_STEP_NODELIST"
JOB_NODE_LIST = "SLURM_JOB_NODELIST"
STEP_GPUS = "SLURM_STEP_GPUS"
JOB_NODES = "SLURM_JOB_NUM_NODES"
JOB_GPUS = "SLURM_JOB_GPUS"
GPUS_PER_TASK = "SLURM_GPUS_PER_TASK"
GPU_BINDING = "SLURM_TRES_BIND"
GPU_BINDING_OLD = "SLURM_GPU_BIND"
RESERVED_PORTS = "SLURM_STEP_RESV_PORTS"
DISTRIBUTION = "SLURM_DISTRIBUTION"
HOST_FILE = "SLURM_HOSTFILE"
# The switches above a node, the highest first, and the node: `core.leaf3.node17`.
TOPOLOGY_ADDRESS = "SLURM_TOPOLOGY_ADDR"
# What its parts are: `switch.switch.node`, or `node` where Slurm knows of no switches.
TOPOLOGY_PATTERN = "SLURM_TOPOLOGY_ADDR_PATTERN"

# The rest of what srun sets, which the kit itself does not read: `jax-sif launch` sets
# it too, because users' programs and libraries do.
JOB_ID_OLD = "SLURM_JOBID"
STEP_ID_OLD = "SLURM_STEPID"
NODE_LIST_OLD = "SLURM_NODELIST"
NODES_OLD = "SLURM_NNODES"
PROCESSES_OLD = "SLURM_NPROCS"
JOB_NAME = "SLURM_JOB_NAME"
JOB_USER = "SLURM_JOB_USER"
JOB_USER_ID = "SLURM_JOB_UID"
JOB_GROUP_ID = "SLURM_JOB_GID"
JOB_START_TIME = "SLURM_JOB_START_TIME"
JOB_CPUS_PER_NODE = "SLURM_JOB_CPUS_PER_NODE"
SUBMIT_DIR = "SLURM_SUBMIT_DIR"
SUBMIT_HOST = "SLURM_SUBMIT_HOST"
STEP_NODES = "SLURM_STEP_NUM_NODES"
STEP_PROCESSES = "SLURM_STEP_NUM_TASKS"
STEP_PROCESSES_PER_NODE = "SLURM_STEP_TASKS_PER_NODE"
PROCESSES_PER_NODE_OLD = "SLURM_TASKS_PER_NODE"
NTASKS_PER_NODE = "SLURM_NTASKS_PER_NODE"
NODE_INDEX = "SLURM_NODEID"
RANKS_ON_NODE = "SLURM_GTIDS"
CPUS_PER_TASK = "SLURM_CPUS_PER_TASK"
CPUS_ON_NODE = "SLURM_CPUS_ON_NODE"
GPUS_ON_NODE = "SLURM_GPUS_ON_NODE"
GPUS_PER_NODE = "SLURM_GPUS_PER_NODE"
GPUS_REQUESTED = "SLURM_GPUS"

# What a job's script may set for srun to read; the lint knows them.
KILL_BAD_EXIT = "SLURM_KILL_BAD_EXIT"
EXPORT_ENVIRONMENT = "SLURM_EXPORT_ENV"

# What the variables of a step begin with, but for those of a single task.
STEP_PREFIX = "SLURM_STEP"
# Prefixes of the variables that launchers set. Those of a launcher around
# `jax-sif launch` are not for the processes below it.
LAUNCHER_PREFIXES = ("SLURM", "PMI", "OMPI_")
# The cluster that `jax-sif launch` poses as, and what it sets besides: how many ranks
# are on this machine, whose nodes are all of them.
LOCAL_CLUSTER = "local"
LOCAL_RANKS = "JAX_SIF_LOCAL_RANKS"

# Display names of launchers that are used outside of their own file; the last are a
# program that passes its process id itself, and a single process.
SLURM, LOCAL_LAUNCH, KUBERNETES = "Slurm", "jax-sif launch", "Kubernetes"
ARGUMENTS, SINGLE_PROCESS = "arguments", "none"


@dataclass(frozen=True)
class Identity:
    """One rank of one step of one job, in one of its runs.

    `step` is the same for all ranks of a step and for no others: under Slurm
    `cluster.job.step.restart`. `node_list` is a Slurm node list such as `node[1-2]`; if
    the launcher does not provide one, the known nodes.
    """

    step: str
    rank: int
    processes: int
    local_rank: int
    node: str
    node_list: str
    # How many of the processes are on this node, and who started them.
    local_processes: int = 1
    launcher: str = SLURM

    def token(self, rank: int, slot: int) -> int:
        """A number that only device `slot` of `rank` of this very run contributes.

        Returns an integer in [1, 2**31), so that a sum in which exactly one device
        contributes to an element fits an int32.
        """
        text = f"{self.step}/{rank}/{slot}"
        return zlib.crc32(text.encode()) % (2**31 - 1) + 1


def is_local_launch(environment: Mapping[str, str]) -> bool:
    """Whether `jax-sif launch` simulates the nodes: their names do not exist."""
    is_local = environment.get(CLUSTER) == LOCAL_CLUSTER
    # A real cluster may have that name, and a job may inherit the other variable.
    return is_local and LOCAL_RANKS in environment
