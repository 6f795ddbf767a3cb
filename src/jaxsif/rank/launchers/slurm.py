"""Slurm's srun and `jax-sif launch`; other launchers in Slurm's variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from jaxsif.core.errors import UsageError
from jaxsif.core.hostlist import expand
from jaxsif.core.slurm_env import (
    CLUSTER,
    DISTRIBUTION,
    GPU_BINDING,
    GPU_BINDING_OLD,
    GPUS_ON_NODE,
    GPUS_PER_TASK,
    HOST_FILE,
    JOB_ID,
    LOCAL_LAUNCH,
    LOCAL_RANK,
    NODE_INDEX,
    NODE_NAME,
    PROCESSES,
    RANK,
    RESTART_COUNT,
    SINGLE_PROCESS,
    SLURM,
    STEP_ID,
    STEP_NODE_LIST,
    STEP_NODES,
    STEP_PREFIX,
    STEP_PROCESSES,
    STEP_PROCESSES_PER_NODE,
    TOPOLOGY_PATTERN,
    Identity,
    is_local_launch,
)
from jaxsif.rank.launchers.machine import LocalHost, number

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


class Slurm:
    """srun, and `jax-sif launch`, which sets the same variables."""

    def identify(self, environment: Mapping[str, str], machine: LocalHost) -> Identity:
        """Everything is in the step's variables."""
        node = environment.get(NODE_NAME) or machine.host_name
        # In a step that was given the job's environment, PROCESSES is the job's.
        processes = STEP_PROCESSES if STEP_PROCESSES in environment else PROCESSES
        return Identity(
            step=step_name(environment),
            rank=number(environment, RANK, "srun"),
            processes=number(environment, processes, "srun"),
            local_rank=number(environment, LOCAL_RANK, "srun"),
            node=node,
            node_list=environment[STEP_NODE_LIST],
            local_processes=tasks_on_node(environment, node),
            launcher=LOCAL_LAUNCH if is_local_launch(environment) else SLURM,
        )

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: LocalHost
    ) -> str:
        """The first node of the list, but where Slurm puts rank 0 elsewhere."""
        if identity.processes == 1:
            return identity.node
        if _may_have_another_order(environment):
            return _first_of_host_file(environment, machine) or _by_rule(
                environment, machine
            )
        nodes = _nodes(environment[STEP_NODE_LIST])
        index = environment.get(NODE_INDEX, "")
        is_known = index.isdecimal() and identity.node in nodes
        if is_known and nodes.index(identity.node) != int(index):
            raise _unknown(
                f"{identity.node} is node {index} of the step, and not so in Slurm's"
                f" sorted list {environment[STEP_NODE_LIST]}, as in a heterogeneous job"
            )
        return nodes[0]


def step_name(environment: Mapping[str, str]) -> str:
    """`cluster.job.step.restart`, as the image's entry writes it too."""
    return ".".join(
        (
            environment.get(CLUSTER, "cluster"),
            environment.get(JOB_ID, "0"),
            environment.get(STEP_ID, "0"),
            environment.get(RESTART_COUNT, "0"),
        )
    )


def tasks_on_node(environment: Mapping[str, str], node: str) -> int:
    """From Slurm's `4(x2),3`, by the node's place in the list of nodes.

    Slurm sorts both, so NODE_INDEX is not that place in a job of several components
    whose nodes come in another order.
    """
    counts: list[int] = []
    try:
        for item in environment.get(STEP_PROCESSES_PER_NODE, "1").split(","):
            count, _, repeat = item.rstrip(")").partition("(x")
            counts += [int(count)] * int(repeat or 1)
        nodes = expand(environment[STEP_NODE_LIST])
    except ValueError:
        # Only where a rank's neighbours matter is this missed.
        return 1
    index = nodes.index(node) if node in nodes else 0
    return counts[index] if index < len(counts) else 1


def _may_have_another_order(environment: Mapping[str, str]) -> bool:
    """Whether rank 0 may be on another node than the first of Slurm's sorted list."""
    has_switches = environment.get(TOPOLOGY_PATTERN, "node") != "node"
    return has_switches or _is_arbitrary(environment)


def _is_arbitrary(environment: Mapping[str, str]) -> bool:
    return environment.get(DISTRIBUTION, "").startswith("arbitrary")


def _first_of_host_file(
    environment: Mapping[str, str], machine: LocalHost
) -> str | None:
    path = environment.get(HOST_FILE, "")
    line = machine.first_line(path) if path and _is_arbitrary(environment) else None
    # As `node2*4` for four tasks there (srun's manual, "arbitrary").
    return _nodes(line.partition("*")[0])[0] if line else None


def _nodes(node_list: str) -> list[str]:
    try:
        nodes = expand(node_list)
    except ValueError as error:
        raise _unknown(str(error)) from error
    if not nodes:
        raise _unknown(f"the list of nodes is {node_list!r}")
    return nodes


def _by_rule(environment: Mapping[str, str], machine: LocalHost) -> str:
    host = machine.rank_0_host(environment)
    if host:
        return host
    raise _unknown(
        f"{environment[STEP_NODE_LIST]!r} is sorted and the tasks are not (an arbitrary"
        f" distribution whose {HOST_FILE} cannot be read here, or an order by topology)"
    )


def _unknown(reason: str) -> UsageError:
    return UsageError(
        f"Slurm does not provide the node of rank 0: {reason}; set"
        " JAX_COORDINATOR_ADDRESS=<rank 0's node>:<port> for every rank"
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
