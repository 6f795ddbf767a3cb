"""PMI: MPICH's and Intel MPI's mpiexec (Hydra), and Cray's PALS; read in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import STEP_ID, STEP_NODE_LIST, Identity
from jaxsif.rank.launchers import PORT_VARIABLE, allocation
from jaxsif.rank.launchers.machine import Machine
from jaxsif.rank.launchers.variables import first_set, number

RANK = "PMI_RANK"
PROCESSES = "PMI_SIZE"
# Hydra's name first, then PALS's.
LOCAL_RANK = ("MPI_LOCALRANKID", "PMI_LOCAL_RANK", "PALS_LOCAL_RANKID")
LOCAL_PROCESSES = ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE")
# The run's name, where there is one: PALS's, Intel MPI's.
RUN = ("PALS_APID", "I_MPI_HYDRA_UUID")
# Hydra: the rank's connection to the proxy that started it, one on each node.
CONNECTION = "PMI_FD"


def identify(environment: Mapping[str, str], machine: Machine) -> Identity:
    """The ranks are numbered; the run itself often has no name."""
    processes = number(environment, PROCESSES, "mpiexec")
    local = _local(environment, LOCAL_PROCESSES, 1 if processes == 1 else None)
    node = machine.host_name
    return Identity(
        step=_step_name(environment, machine, is_on_one_node=local == processes),
        rank=number(environment, RANK, "mpiexec"),
        processes=processes,
        local_rank=_local(environment, LOCAL_RANK, 0 if processes == 1 else None),
        node=node,
        node_list=allocation.node_list(environment, node),
        local_processes=local,
        launcher="PMI",
    )


def coordinator_host(
    environment: Mapping[str, str], identity: Identity, machine: Machine
) -> str:
    """The only node, or the allocation's first; rank 0 checks it."""
    host = allocation.first_node(environment, identity)
    if host is None:
        allocation.raise_unknown_host(identity, "mpiexec -genv JAX_COORDINATOR_ADDRESS")
    has_port = bool(environment.get(PORT_VARIABLE))
    if identity.step.endswith(f".{allocation.UNNAMED}") and not has_port:
        raise UsageError(
            f"this run of mpiexec cannot be distinguished from others on {identity.node},"
            f" so its group cannot have its own port; name it: mpiexec -genv"
            f" {allocation.RUN_VARIABLE} run-1 ..., with a different name for each run"
        )
    return host


def _local(
    environment: Mapping[str, str], names: tuple[str, ...], alone: int | None
) -> int:
    name = first_set(environment, names)
    if name is None and alone is not None:
        return alone
    return number(environment, name or names[0], "an mpiexec of MPICH 4 or newer")


def _step_name(
    environment: Mapping[str, str], machine: Machine, *, is_on_one_node: bool
) -> str:
    run = environment.get(first_set(environment, RUN) or "")
    connection = environment.get(CONNECTION, "")
    if not run and is_on_one_node and connection.isdecimal():
        proxy = machine.maker(int(connection))
        run = f"{machine.host_name}-{proxy}" if proxy else None
    if not run and STEP_NODE_LIST in environment:
        # That of the proxies: each mpiexec has its own.
        run = environment.get(STEP_ID)
    return allocation.step_name(environment, "pmi", run or "")
