"""Identify this process's launcher and rank; one module per launcher, without JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol, cast

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import (
    ARGUMENTS,
    JOB_ID,
    PROCESSES,
    RANK,
    RESERVED_PORTS,
    RESTART_COUNT,
    SINGLE_PROCESS,
    SLURM,
    STEP_ID,
    STEP_NODE_LIST,
    STEP_NODES,
    STEP_PROCESSES,
    Identity,
)
from jaxsif.rank.launchers.machine import LocalHost

# The variable by which each is recognised, in this order. The innermost launcher comes
# first: mpirun and mpiexec start a daemon on each node with srun, and their ranks
# inherit the variables of the daemon's step, or of the batch script. Open MPI also sets
# PMIx's variable.
MARKER_VARIABLES = {
    "open_mpi": "OMPI_COMM_WORLD_RANK",
    "pmix": "PMIX_RANK",
    "pmi": "PMI_RANK",
    "slurm": STEP_NODE_LIST,
    "kubernetes": "JOB_COMPLETION_INDEX",
}
SINGLE = "single"
# Module and class of each.
LAUNCHERS = {
    "open_mpi": "mpi.OpenMpi",
    "pmix": "mpi.Pmix",
    "pmi": "mpi.Pmi",
    "slurm": "slurm.Slurm",
    "kubernetes": "kubernetes.Kubernetes",
    SINGLE: "machine.Single",
}

_MPI_LAUNCHERS = ("open_mpi", "pmix", "pmi")
# The variables in which PMI names its step, if srun itself provides PMI (--mpi=pmix,
# --mpi=pmi2, --mpi=cray_shasta), and their format.
_STEP_NAMES = {
    "PMIX_NAMESPACE": "slurm.pmix.{job}.{step}",
    "PMI_JOBID": "{job}.{step}",
    "PALS_APID": "{job}.{step}",
}
# The shell that salloc opens on a node (LaunchParameters=use_interactive_step), as
# Slurm 26.05 and as older ones write it. It is a step, but no rank of anything.
_INTERACTIVE_STEPS = ("-6", "4294967290")


def detect_launcher(environment: Mapping[str, str]) -> str:
    """The name of the launcher, a key of LAUNCHERS."""
    for name, variable in MARKER_VARIABLES.items():
        if not environment.get(variable):
            continue
        if name in _MPI_LAUNCHERS and is_started_by_srun(environment):
            return "slurm"
        if name == "slurm" and environment.get(STEP_ID) in _INTERACTIVE_STEPS:
            continue
        return name
    return SINGLE


def is_started_by_srun(environment: Mapping[str, str]) -> bool:
    """Whether a process with MPI's variables is nevertheless a task of srun.

    Either srun provides PMI, and PMI names srun's step and rank; or MPI's variables are
    older than the step, for example if a rank of mpirun calls srun: the step has more
    tasks than nodes, while a step of daemons has one per node.
    """
    if STEP_NODE_LIST not in environment:
        return False
    if _has_more_tasks_than_nodes(environment):
        return True
    job, step = environment.get(JOB_ID), environment.get(STEP_ID)
    is_named = any(
        environment.get(variable) == name.format(job=job, step=step)
        for variable, name in _STEP_NAMES.items()
    )
    return is_named and environment.get(RANK) == _rank_by_pmi(environment)


def _has_more_tasks_than_nodes(environment: Mapping[str, str]) -> bool:
    tasks = environment.get(STEP_PROCESSES) or environment.get(PROCESSES, "")
    nodes = environment.get(STEP_NODES, "")
    return tasks.isdecimal() and nodes.isdecimal() and int(tasks) > int(nodes)


def _rank_by_pmi(environment: Mapping[str, str]) -> str | None:
    return environment.get(MARKER_VARIABLES["pmix"]) or environment.get(
        MARKER_VARIABLES["pmi"]
    )


ADDRESS_VARIABLE = "JAX_COORDINATOR_ADDRESS"
PORT_VARIABLE = "JAX_COORDINATOR_PORT"

# The image's entry has the same rule in sh, because it also holds for programs that do
# not know this kit; tests/rank/test_environments.py compares the two. It has the
# reasons.
_FIRST, _COUNT = 12288, 20011
_JOB_STRIDE, _RESTART_STRIDE = 211, 7919

_ARGUMENTS = ("process_id", "num_processes")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Launcher(Protocol):
    """The interface of each launcher's class, which reads its variables."""

    def identify(self, environment: Mapping[str, str], machine: LocalHost) -> Identity:
        """Which rank of which step this process is, and where.

        Raises UsageError, with a remedy, if the launcher does not provide it.
        """

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: LocalHost
    ) -> str | None:
        """The host of rank 0, by a name that all ranks know; None without a group.

        Raises UsageError, with a remedy, if the launcher does not provide it.
        """


def identify(
    environment: Mapping[str, str],
    machine: LocalHost,
    settings: Mapping[str, Any] = _NOTHING,
) -> Identity:
    """Which rank this process is; without a launcher it is rank 0 of 1.

    `settings` are the arguments of `jax.distributed.initialize()`, which come first.
    """
    identity = _launcher(environment).identify(environment, machine)
    if not (settings.get("process_id") is settings.get("num_processes") is None):
        identity = _identify_by_arguments(identity, settings, environment)
    if not 0 <= identity.rank < identity.processes:
        raise UsageError(
            f"this is rank {identity.rank} of {identity.processes}"
            f" ({identity.launcher}), and ranks count from 0; start the requested"
            " number of processes"
        )
    return identity


def _identify_by_arguments(
    found: Identity, settings: Mapping[str, Any], environment: Mapping[str, str]
) -> Identity:
    """`found`, with the numbers that `jax.distributed.initialize()` would be given.

    Raises UsageError when one is missing that no launcher gives.
    """
    given = {name: settings.get(name) for name in _ARGUMENTS}
    has_launcher = found.launcher != SINGLE_PROCESS
    if not has_launcher and None in given.values():
        raise UsageError(
            f"initialize_distributed() got {given}, and there is no launcher to provide"
            " the rest; pass both numbers, or start the program with srun, mpirun or"
            " jax-sif launch"
        )
    process_id, processes = given.values()
    identity = replace(
        found,
        rank=found.rank if process_id is None else process_id,
        processes=found.processes if processes is None else processes,
    )
    if has_launcher:
        return identity
    # Who starts processes by hand chooses the coordinator's port for each run.
    address = given_address(environment, settings) or ""
    step = f"by-hand.{address.rpartition(':')[2]}"
    return replace(identity, step=step, launcher=ARGUMENTS)


def coordinator(
    environment: Mapping[str, str],
    identity: Identity,
    machine: LocalHost,
    settings: Mapping[str, Any] = _NOTHING,
) -> tuple[str, int] | None:
    """Host and port that JAX will connect to; None when there is no group to join.

    Raises UsageError if they, or this process's rank, are unknown.
    """
    given = given_address(environment, settings)
    if given is None and identity.launcher == ARGUMENTS:
        raise UsageError(
            f"initialize_distributed() got num_processes={identity.processes} and"
            f" process_id={identity.rank}, but no coordinator_address; pass the host"
            f" and port of process 0, or set {ADDRESS_VARIABLE}"
        )
    if given is None:
        host = _launcher(environment).coordinator_host(environment, identity, machine)
        return (host, _port(environment, identity)) if host else None
    if identity.launcher == SINGLE_PROCESS:
        raise UsageError(
            f"the coordinator is {given!r}, but without a launcher this process's rank"
            " is unknown; start it with srun, mpirun or jax-sif launch, or pass"
            " num_processes and process_id to initialize_distributed()"
        )
    host, _, port = given.rpartition(":")
    if not host or not _is_port(port):
        raise UsageError(
            f"the coordinator's address is {given!r}, expected HOST:PORT; set"
            f" {ADDRESS_VARIABLE}=node1:12345, or leave it to the kit"
        )
    return host.strip("[]"), int(port)


def as_address(where: tuple[str, int]) -> str:
    """`host:port`; an IPv6 address is put in brackets."""
    host, port = where
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def given_address(
    environment: Mapping[str, str], settings: Mapping[str, Any]
) -> str | None:
    """The address that the user chose, if any."""
    return settings.get("coordinator_address") or environment.get(ADDRESS_VARIABLE)


def _port(environment: Mapping[str, str], identity: Identity) -> int:
    chosen = environment.get(PORT_VARIABLE)
    if not chosen:
        return coordinator_port(environment, identity)
    if not _is_port(chosen):
        raise UsageError(
            f"{PORT_VARIABLE} is {chosen!r}, expected a number from 1 to 65535; unset"
            " it, and every step gets its own port"
        )
    return int(chosen)


def coordinator_port(environment: Mapping[str, str], identity: Identity) -> int:
    """Under Slurm by job, step and restart; elsewhere by the step's name.

    Returns a port from 12288 to 32298, below those that Linux hands out by itself.
    """
    if identity.launcher != SLURM:
        return _FIRST + zlib.crc32(identity.step.encode()) % _COUNT
    reserved = re.match(r"\d+", environment.get(RESERVED_PORTS, ""))
    if reserved:
        return int(reserved[0])
    job, step = _number(environment, JOB_ID), _number(environment, STEP_ID)
    restart = _number(environment, RESTART_COUNT, "0")
    offset = job * _JOB_STRIDE + step + restart * _RESTART_STRIDE
    return _FIRST + offset % _COUNT


def _number(
    environment: Mapping[str, str], name: str, default: str | None = None
) -> int:
    value = environment.get(name) or default
    if value is None or not value.isdecimal():
        raise UsageError(
            f"{name} is {value!r}, expected a number; start the program with srun,"
            " which sets it, or set JAX_COORDINATOR_PORT for every rank"
        )
    return int(value)


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536


def _launcher(environment: Mapping[str, str]) -> Launcher:
    # Only the one: in a container every module that is opened takes a millisecond.
    module, _, name = LAUNCHERS[detect_launcher(environment)].partition(".")
    launcher = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return cast(Launcher, launcher())
