"""How much memory a measurement may take on each device of this rank; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import os

import jax

from jaxsif.core.slurm_env import RANKS_ON_MACHINE, is_local_launch
from jaxsif.node import inspect_host
from jaxsif.node.memory import free_bytes as free_on_node

# Of what is free; the rest is for whoever else allocates meanwhile.
_USED_SHARE = 0.8


def usable_bytes(local_processes: int) -> float:
    """Bytes for the buffers on one device; infinite where nobody can tell."""
    if jax.default_backend() == "cpu":
        free = free_on_node(inspect_host(os.environ))
        # Nodes that `jax-sif launch` poses as have one memory together.
        if is_local_launch(os.environ):
            local_processes = int(os.environ[RANKS_ON_MACHINE])
        sharing = local_processes * jax.local_device_count()
        # Gloo and XLA hold about as much again while they send.
        return math.inf if free is None else _USED_SHARE * free / sharing / 2
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if not all("bytes_limit" in s for s in stats):
        return math.inf
    free_bytes = min(int(s["bytes_limit"] - s["bytes_in_use"]) for s in stats)
    return _USED_SHARE * free_bytes
