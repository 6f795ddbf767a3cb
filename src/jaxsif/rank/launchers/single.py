"""No launcher: a single process, in a terminal, a batch script or an allocation."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from jaxsif.core.slurm_env import SINGLE_PROCESS, Identity
from jaxsif.rank.launchers.machine import Machine


def identify(environment: Mapping[str, str], machine: Machine) -> Identity:
    """Rank 0 of 1. (Whether the allocation has more tasks is checked before the start.)"""
    node = machine.host_name
    return Identity("local.0.0.0", 0, 1, 0, node, node, launcher=SINGLE_PROCESS)


def coordinator_host(
    environment: Mapping[str, str], identity: Identity, machine: Machine
) -> None:
    """There is no group."""
