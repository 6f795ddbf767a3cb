"""A rank identified by the program's own arguments, which override any launcher."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import ARGUMENTS, SINGLE_PROCESS, Identity
from jaxsif.rank.launchers import given_address

NAMES = ("process_id", "num_processes")


def identify(
    found: Identity, settings: Mapping[str, Any], environment: Mapping[str, str]
) -> Identity:
    """`found`, with the numbers that `jax.distributed.initialize()` would be given.

    Raises UsageError when one is missing that no launcher gives.
    """
    given = {name: settings.get(name) for name in NAMES}
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
