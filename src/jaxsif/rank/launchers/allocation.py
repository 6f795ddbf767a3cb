"""Run name, nodes and rank 0's host from Slurm's job, which MPI launchers lack."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from jaxsif.core.errors import UsageError
from jaxsif.core.hostlist import expand
from jaxsif.core.slurm_env import (
    CLUSTER,
    JOB_ID,
    JOB_NODE_LIST,
    RESTART_COUNT,
    Identity,
)

# Names a run where its launcher does not: the same for all its ranks, and for no other
# run. A user, or a manifest, sets it.
RUN_VARIABLE = "JAX_SIF_RUN_ID"
UNNAMED = "unnamed"


def step_name(environment: Mapping[str, str], launcher: str, run: str) -> str:
    """`launcher.run`, with the job around it where there is one."""
    parts = [launcher]
    if JOB_ID in environment:
        cluster = environment.get(CLUSTER, "cluster")
        parts += [cluster, environment[JOB_ID], environment.get(RESTART_COUNT, "0")]
    return ".".join([*parts, environment.get(RUN_VARIABLE) or run or UNNAMED])


def node_list(environment: Mapping[str, str], node: str) -> str:
    """The allocation's nodes as a Slurm node list, or the only known one."""
    return environment.get(JOB_NODE_LIST) or node


def first_node(environment: Mapping[str, str], identity: Identity) -> str | None:
    """The node where a launcher puts rank 0 by default.

    All ranks must choose alike, so rank 0 does not just name its own.
    """
    if identity.local_processes == identity.processes:
        return identity.node
    try:
        nodes = expand(environment.get(JOB_NODE_LIST, ""))
    except ValueError:
        nodes = []
    return nodes[0] if nodes else None


def raise_unknown_host(identity: Identity, way: str) -> NoReturn:
    """Raises UsageError. `way`: how the launcher hands a variable to all ranks."""
    raise UsageError(
        f"{identity.launcher} does not provide rank 0's host to rank {identity.rank} of"
        f" {identity.processes} on {identity.node}; set the variable for every rank:"
        f" {way}, here to <rank 0's host>:<port>"
    )
