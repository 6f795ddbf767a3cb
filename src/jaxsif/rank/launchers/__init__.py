"""Identify this process's launcher and rank; one module per launcher, without JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol, cast

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import ARGUMENTS, SINGLE_PROCESS, Identity
from jaxsif.rank.launchers import ports
from jaxsif.rank.launchers.detect import recognise
from jaxsif.rank.launchers.machine import Machine

ADDRESS_VARIABLE = "JAX_COORDINATOR_ADDRESS"
PORT_VARIABLE = "JAX_COORDINATOR_PORT"

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Launcher(Protocol):
    """The interface of each module, which reads its launcher's variables."""

    def identify(self, environment: Mapping[str, str], machine: Machine) -> Identity:
        """Which rank of which step this process is, and where.

        Raises UsageError, with a remedy, if the launcher does not provide it.
        """

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: Machine
    ) -> str | None:
        """The host of rank 0, by a name that all ranks know; None without a group.

        Raises UsageError, with a remedy, if the launcher does not provide it.
        """


def identify(
    environment: Mapping[str, str],
    machine: Machine,
    settings: Mapping[str, Any] = _NOTHING,
) -> Identity:
    """Which rank this process is; without a launcher it is rank 0 of 1.

    `settings` are the arguments of `jax.distributed.initialize()`, which come first.
    """
    identity = _launcher(environment).identify(environment, machine)
    if not (settings.get("process_id") is settings.get("num_processes") is None):
        from jaxsif.rank.launchers import arguments

        identity = arguments.identify(identity, settings, environment)
    if not 0 <= identity.rank < identity.processes:
        raise UsageError(
            f"this is rank {identity.rank} of {identity.processes} ({identity.launcher}),"
            " and ranks count from 0; start the requested number of processes"
        )
    return identity


def coordinator(
    environment: Mapping[str, str],
    identity: Identity,
    machine: Machine,
    settings: Mapping[str, Any] = _NOTHING,
) -> tuple[str, int] | None:
    """Host and port that JAX will connect to; None when there is no group to join.

    Raises UsageError if they, or this process's rank, are unknown.
    """
    given = given_address(environment, settings)
    if given is None and identity.launcher == ARGUMENTS:
        raise UsageError(
            f"initialize_distributed() got num_processes={identity.processes} and"
            f" process_id={identity.rank}, but no coordinator_address; pass the host and"
            f" port of process 0, or set {ADDRESS_VARIABLE}"
        )
    if given is None:
        host = _launcher(environment).coordinator_host(environment, identity, machine)
        return (host, _port(environment, identity)) if host else None
    if identity.launcher == SINGLE_PROCESS:
        raise UsageError(
            f"the coordinator is {given!r}, but without a launcher this process's rank is"
            " unknown; start it with srun, mpirun or jax-sif launch, or pass"
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
        return ports.coordinator_port(environment, identity)
    if not _is_port(chosen):
        raise UsageError(
            f"{PORT_VARIABLE} is {chosen!r}, expected a number from 1 to 65535; unset it,"
            " and every step gets a port of its own"
        )
    return int(chosen)


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536


def _launcher(environment: Mapping[str, str]) -> Launcher:
    # Only the one: in a container every module that is opened takes a millisecond.
    module = importlib.import_module(f"{__name__}.{recognise(environment)}")
    return cast(Launcher, module)
