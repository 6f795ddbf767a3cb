"""Says what another launcher told in Slurm's words, which local_devices.sh and the checks of a node understand; pure."""
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

# What a rank may have inherited of a step that is not its own, as of mpirun's daemons: who
# the daemon is, and how its GPUs were bound to it. What it sees, its ranks see.
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
    """The environment with the step that the launcher made in the place of any other."""
    if identity.launcher in (SLURM, LOCAL_LAUNCH):
        # In a step that was given the job's environment it is the job's number.
        return {**environment, PROCESSES: str(identity.processes)}
    words = {
        name: value
        for name, value in environment.items()
        if name not in _OF_A_STEP and not name.startswith(STEP_PREFIX)
    }
    if identity.launcher == SINGLE_PROCESS:
        return words
    is_on_one_node = identity.local_processes == identity.processes
    return {
        **words,
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
