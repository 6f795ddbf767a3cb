"""Translate another launcher's variables to Slurm's, for local_devices.sh and checks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from jaxsif.core.slurm_env import (
    GPU_BINDING,
    GPU_BINDING_OLD,
    GPUS_ON_NODE,
    GPUS_PER_TASK,
    LOCAL_LAUNCH,
    LOCAL_RANK,
    NODE_INDEX,
    NODE_NAME,
    PROCESSES,
    RANK,
    SINGLE_PROCESS,
    SLURM,
    STEP_NODE_LIST,
    STEP_NODES,
    STEP_PREFIX,
    STEP_PROCESSES,
    STEP_PROCESSES_PER_NODE,
    Identity,
)

# Variables that a rank may have inherited from another step, such as that of mpirun's
# daemons: the daemon's identity and GPU binding. Its visible GPUs are the ranks'.
_OF_A_STEP = (
    RANK,
    LOCAL_RANK,
    NODE_INDEX,
    NODE_NAME,
    GPU_BINDING,
    GPU_BINDING_OLD,
    GPUS_PER_TASK,
    GPUS_ON_NODE,
)


def as_slurm_env(environment: Mapping[str, str], identity: Identity) -> dict[str, str]:
    """The environment with the launcher's step instead of any other."""
    if identity.launcher in (SLURM, LOCAL_LAUNCH):
        # In a step that was given the job's environment it is the job's number.
        return {**environment, PROCESSES: str(identity.processes)}
    inherited = {
        name: value
        for name, value in environment.items()
        if name not in _OF_A_STEP and not name.startswith(STEP_PREFIX)
    }
    if identity.launcher == SINGLE_PROCESS:
        return inherited
    is_on_one_node = identity.local_processes == identity.processes
    return {
        **inherited,
        RANK: str(identity.rank),
        PROCESSES: str(identity.processes),
        LOCAL_RANK: str(identity.local_rank),
        NODE_NAME: identity.node,
        NODE_INDEX: "0",
        STEP_NODE_LIST: identity.node_list,
        # Of several the number may not be known; the checks only ask whether it is one.
        STEP_NODES: "1" if is_on_one_node else "2",
        STEP_PROCESSES: str(identity.processes),
        STEP_PROCESSES_PER_NODE: str(identity.local_processes),
    }
