"""A process without a launcher: alone, or numbered by the program's arguments."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import ARGUMENTS, SINGLE_PROCESS, Identity
from jaxsif.rank.launchers import given_address
from jaxsif.rank.launchers.machine import LocalHost

_ARGUMENTS = ("process_id", "num_processes")


class Single:
    """A single process, in a terminal, a batch script or an allocation."""

    def identify(self, environment: Mapping[str, str], machine: LocalHost) -> Identity:
        """Rank 0 of 1. (Whether the allocation has more tasks is checked before the start.)"""
        node = machine.host_name
        return Identity("local.0.0.0", 0, 1, 0, node, node, launcher=SINGLE_PROCESS)

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: LocalHost
    ) -> None:
        """There is no group."""


def identify_by_arguments(
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
