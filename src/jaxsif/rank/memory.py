"""Memory available to a measurement on each device of this rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import os

import jax

from jaxsif.core.slurm_env import LOCAL_RANKS, is_local_launch
from jaxsif.node import inspect_host
from jaxsif.node.host import free_memory_bytes

# Share of the free memory; the rest is for other allocations.
_USED_SHARE = 0.8


def usable_bytes(local_processes: int) -> float:
    """Bytes for the buffers on one device; infinite if unknown."""
    if jax.default_backend() == "cpu":
        free = free_memory_bytes(inspect_host(os.environ))
        # All simulated nodes of `jax-sif launch` share one memory.
        if is_local_launch(os.environ):
            local_processes = int(os.environ[LOCAL_RANKS])
        sharing = local_processes * jax.local_device_count()
        # Gloo and XLA hold about as much again while they send.
        return math.inf if free is None else _USED_SHARE * free / sharing / 2
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if not all("bytes_limit" in s for s in stats):
        return math.inf
    free_bytes = min(int(s["bytes_limit"] - s["bytes_in_use"]) for s in stats)
    return _USED_SHARE * free_bytes
