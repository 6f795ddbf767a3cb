"""Ranks started by mpirun, mpiexec or prterun: Open MPI, PMI and PMIx."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from jaxsif.core.errors import UsageError
from jaxsif.core.hostlist import expand
from jaxsif.core.slurm_env import (
    CLUSTER,
    JOB_ID,
    JOB_NODE_LIST,
    RESTART_COUNT,
    STEP_ID,
    STEP_NODE_LIST,
    Identity,
)
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology, parse_topology
from jaxsif.rank.launchers import PORT_VARIABLE
from jaxsif.rank.launchers.machine import RUN_VARIABLE, LocalHost, first_set, number

_UNNAMED = "unnamed"

_MPI_RANK = "OMPI_COMM_WORLD_RANK"
_MPI_PROCESSES = "OMPI_COMM_WORLD_SIZE"
_MPI_LOCAL_RANK = "OMPI_COMM_WORLD_LOCAL_RANK"
_MPI_LOCAL_PROCESSES = "OMPI_COMM_WORLD_LOCAL_SIZE"
# The name of the run: `prterun-node1-801@1` in version 5, where node1 is mpirun's host
# and 801 its process, a number in version 4.
_RUN = "PMIX_NAMESPACE"
# Version 4: how to reach mpirun, as `236060672.0;tcp://10.0.0.1,10.1.0.1:37613`.
_MPIRUN_ADDRESS = "OMPI_MCA_orte_hnp_uri"

_PMI_RANK = "PMI_RANK"
_PMI_PROCESSES = "PMI_SIZE"
# Hydra's name first, then PALS's.
_PMI_LOCAL_RANK = ("MPI_LOCALRANKID", "PMI_LOCAL_RANK", "PALS_LOCAL_RANKID")
_PMI_LOCAL_PROCESSES = ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE")
# The run's name, where there is one: PALS's, Intel MPI's.
_PMI_RUN = ("PALS_APID", "I_MPI_HYDRA_UUID")
# Hydra: the rank's connection to the proxy that started it, one on each node.
_PMI_CONNECTION = "PMI_FD"

# The environment contains the rank and the run. The number of ranks is known only to
# PMIx's library, which the image does not contain.
_PMIX_RANK = "PMIX_RANK"


class OpenMpi:
    """Open MPI's mpirun, versions 4 and 5."""

    def identify(self, environment: Mapping[str, str], machine: LocalHost) -> Identity:
        """Everything but the list of nodes stands in mpirun's variables."""
        rank = number(environment, _MPI_RANK, "mpirun")
        run = (
            environment.get(_RUN)
            or environment.get(_MPIRUN_ADDRESS, "").partition(";")[0]
        )
        # The node's name in Slurm's variables may be that of mpirun's own node.
        node = machine.host_name
        return Identity(
            step=_step_name(environment, "open-mpi", run),
            rank=rank,
            processes=number(environment, _MPI_PROCESSES, "mpirun"),
            local_rank=number(environment, _MPI_LOCAL_RANK, "mpirun"),
            node=node,
            node_list=_node_list(environment, node),
            local_processes=number(environment, _MPI_LOCAL_PROCESSES, "mpirun"),
            launcher="Open MPI",
        )

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: LocalHost
    ) -> str:
        """The only node, or the allocation's first, or mpirun's own host.

        mpirun puts rank 0 there by default, and rank 0 checks it.
        """
        return (
            _first_node(environment, identity)
            or mpirun_host(environment)
            or _raise_unknown_host(identity, "mpirun -x JAX_COORDINATOR_ADDRESS")
        )


def mpirun_host(environment: Mapping[str, str]) -> str | None:
    """The host that mpirun runs on, by name or address."""
    named = re.fullmatch(r"prt\w*-(.+)-\d+@\d+", environment.get(_RUN, ""))
    if named:
        return named[1]
    address = environment.get(_MPIRUN_ADDRESS, "")
    found = re.search(r"tcp://([^,:]+)|tcp6://\[([^,\]]+)", address)
    return (found[1] or found[2]) if found else None


class Pmi:
    """PMI: MPICH's and Intel MPI's mpiexec (Hydra), and Cray's PALS."""

    def identify(self, environment: Mapping[str, str], machine: LocalHost) -> Identity:
        """The ranks are numbered; the run itself often has no name."""
        processes = number(environment, _PMI_PROCESSES, "mpiexec")
        local = _pmi_local(
            environment, _PMI_LOCAL_PROCESSES, 1 if processes == 1 else None
        )
        node = machine.host_name
        return Identity(
            step=_pmi_step_name(
                environment, machine, is_on_one_node=local == processes
            ),
            rank=number(environment, _PMI_RANK, "mpiexec"),
            processes=processes,
            local_rank=_pmi_local(
                environment, _PMI_LOCAL_RANK, 0 if processes == 1 else None
            ),
            node=node,
            node_list=_node_list(environment, node),
            local_processes=local,
            launcher="PMI",
        )

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: LocalHost
    ) -> str:
        """The only node, or the allocation's first; rank 0 checks it."""
        host = _first_node(environment, identity)
        if host is None:
            _raise_unknown_host(identity, "mpiexec -genv JAX_COORDINATOR_ADDRESS")
        has_port = bool(environment.get(PORT_VARIABLE))
        if identity.step.endswith(f".{_UNNAMED}") and not has_port:
            raise UsageError(
                "this run of mpiexec cannot be distinguished from others on"
                f" {identity.node}, so its group cannot have its own port; name it:"
                f" mpiexec -genv {RUN_VARIABLE} run-1 ..., with a different name for"
                " each run"
            )
        return host


def _pmi_local(
    environment: Mapping[str, str], names: tuple[str, ...], alone: int | None
) -> int:
    name = first_set(environment, names)
    if name is None and alone is not None:
        return alone
    return number(environment, name or names[0], "an mpiexec of MPICH 4 or newer")


def _pmi_step_name(
    environment: Mapping[str, str], machine: LocalHost, *, is_on_one_node: bool
) -> str:
    run = environment.get(first_set(environment, _PMI_RUN) or "")
    connection = environment.get(_PMI_CONNECTION, "")
    if not run and is_on_one_node and connection.isdecimal():
        proxy = machine.peer_pid(int(connection))
        run = f"{machine.host_name}-{proxy}" if proxy else None
    if not run and STEP_NODE_LIST in environment:
        # That of the proxies: each mpiexec has its own.
        run = environment.get(STEP_ID)
    return _step_name(environment, "pmi", run or "")


class Pmix:
    """PMIx without Open MPI, as PRRTE's prterun starts it."""

    def identify(self, environment: Mapping[str, str], machine: LocalHost) -> Identity:
        """Number of processes, in total and per node, come from the requested topology.

        Ranks are placed node by node, prterun's default.
        """
        topology = _topology(environment)
        rank = number(environment, _PMIX_RANK, "prterun")
        node = machine.host_name
        run = environment.get(_RUN, "")
        return Identity(
            step=_step_name(environment, "pmix", run),
            rank=rank,
            processes=topology.processes,
            local_rank=rank % topology.processes_per_node,
            node=node,
            node_list=_node_list(environment, node),
            local_processes=topology.processes_per_node,
            launcher="PMIx",
        )

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: LocalHost
    ) -> str:
        """As with mpirun."""
        return (
            _first_node(environment, identity)
            or mpirun_host(environment)
            or _raise_unknown_host(identity, "prterun -x JAX_COORDINATOR_ADDRESS")
        )


def _topology(environment: Mapping[str, str]) -> Topology:
    label = environment.get(TOPOLOGY_VARIABLE)
    if not label:
        raise UsageError(
            "prterun provides a process's rank, but not the number of processes;"
            f" {TOPOLOGY_VARIABLE} is {label!r}: set it for every rank, as in prterun"
            f" -x {TOPOLOGY_VARIABLE}=G4N2p4, or start the program with mpirun"
        )
    return parse_topology(label)


def _step_name(environment: Mapping[str, str], launcher: str, run: str) -> str:
    """`launcher.run`, with the job around it where there is one."""
    parts = [launcher]
    if JOB_ID in environment:
        cluster = environment.get(CLUSTER, "cluster")
        parts += [cluster, environment[JOB_ID], environment.get(RESTART_COUNT, "0")]
    return ".".join([*parts, environment.get(RUN_VARIABLE) or run or _UNNAMED])


def _node_list(environment: Mapping[str, str], node: str) -> str:
    """The allocation's nodes as a Slurm node list, or the only known one."""
    return environment.get(JOB_NODE_LIST) or node


def _first_node(environment: Mapping[str, str], identity: Identity) -> str | None:
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


def _raise_unknown_host(identity: Identity, way: str) -> NoReturn:
    """Raises UsageError. `way`: how the launcher hands a variable to all ranks."""
    raise UsageError(
        f"{identity.launcher} does not provide rank 0's host to rank {identity.rank} of"
        f" {identity.processes} on {identity.node}; set the variable for every rank:"
        f" {way}, here to <rank 0's host>:<port>"
    )
