"""PMIx without Open MPI, as PRRTE's prterun starts it; read in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import Identity
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology, parse_topology
from jaxsif.rank.launchers import allocation, open_mpi
from jaxsif.rank.launchers.machine import Machine
from jaxsif.rank.launchers.variables import number

# The environment contains the rank and the run. The number of ranks is known only to
# PMIx's library, which the image does not contain.
RANK = "PMIX_RANK"


def identify(environment: Mapping[str, str], machine: Machine) -> Identity:
    """Number of processes, in total and per node, come from the requested topology.

    Ranks are placed node by node, prterun's default.
    """
    topology = _topology(environment)
    rank = number(environment, RANK, "prterun")
    node = machine.host_name
    run = environment.get(open_mpi.RUN, "")
    return Identity(
        step=allocation.step_name(environment, "pmix", run),
        rank=rank,
        processes=topology.processes,
        local_rank=rank % topology.processes_per_node,
        node=node,
        node_list=allocation.node_list(environment, node),
        local_processes=topology.processes_per_node,
        launcher="PMIx",
    )


def coordinator_host(
    environment: Mapping[str, str], identity: Identity, machine: Machine
) -> str:
    """As with mpirun."""
    return (
        allocation.first_node(environment, identity)
        or open_mpi.mpirun_host(environment)
        or allocation.raise_unknown_host(identity, "prterun -x JAX_COORDINATOR_ADDRESS")
    )


def _topology(environment: Mapping[str, str]) -> Topology:
    label = environment.get(TOPOLOGY_VARIABLE)
    if not label:
        raise UsageError(
            "prterun provides a process's rank, but not the number of processes;"
            f" {TOPOLOGY_VARIABLE} is {label!r}: set it for every rank, as in prterun -x"
            f" {TOPOLOGY_VARIABLE}=G4N2p4, or start the program with mpirun"
        )
    return parse_topology(label)
