"""Open MPI's mpirun, versions 4 and 5; read in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Mapping

from jaxsif.core.slurm_env import Identity
from jaxsif.rank.launchers import allocation
from jaxsif.rank.launchers.machine import Machine
from jaxsif.rank.launchers.variables import number

RANK = "OMPI_COMM_WORLD_RANK"
PROCESSES = "OMPI_COMM_WORLD_SIZE"
LOCAL_RANK = "OMPI_COMM_WORLD_LOCAL_RANK"
LOCAL_PROCESSES = "OMPI_COMM_WORLD_LOCAL_SIZE"
# The name of the run: `prterun-node1-801@1` in version 5, where node1 is mpirun's host and
# 801 its process, a number in version 4.
RUN = "PMIX_NAMESPACE"
# Version 4: how to reach mpirun, as `236060672.0;tcp://10.0.0.1,10.1.0.1:37613`.
MPIRUN_ADDRESS = "OMPI_MCA_orte_hnp_uri"


def identify(environment: Mapping[str, str], machine: Machine) -> Identity:
    """Everything but the list of nodes stands in mpirun's variables."""
    rank = number(environment, RANK, "mpirun")
    run = environment.get(RUN) or environment.get(MPIRUN_ADDRESS, "").partition(";")[0]
    # The node's name in Slurm's variables may be that of mpirun's own node.
    node = machine.host_name
    return Identity(
        step=allocation.step_name(environment, "open-mpi", run),
        rank=rank,
        processes=number(environment, PROCESSES, "mpirun"),
        local_rank=number(environment, LOCAL_RANK, "mpirun"),
        node=node,
        node_list=allocation.node_list(environment, node),
        local_processes=number(environment, LOCAL_PROCESSES, "mpirun"),
        launcher="Open MPI",
    )


def coordinator_host(
    environment: Mapping[str, str], identity: Identity, machine: Machine
) -> str:
    """The only node, or the allocation's first, or mpirun's own host.

    mpirun puts rank 0 there by default, and rank 0 checks it.
    """
    return (
        allocation.first_node(environment, identity)
        or mpirun_host(environment)
        or allocation.raise_unknown_host(identity, "mpirun -x JAX_COORDINATOR_ADDRESS")
    )


def mpirun_host(environment: Mapping[str, str]) -> str | None:
    """The host that mpirun runs on, by name or address."""
    named = re.fullmatch(r"prt\w*-(.+)-\d+@\d+", environment.get(RUN, ""))
    if named:
        return named[1]
    address = environment.get(MPIRUN_ADDRESS, "")
    found = re.search(r"tcp://([^,:]+)|tcp6://\[([^,\]]+)", address)
    return (found[1] or found[2]) if found else None
