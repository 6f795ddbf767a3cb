"""Where the group's coordinator is, which devices are this rank's, and joining the group; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jaxsif.contract.hostlist import expand
from jaxsif.contract.identity import JOB_ID, STEP_NODE_LIST
from jaxsif.rank.limits import Limits

# Our own deadline ends the wait first, and says more than JAX's abort does.
_AFTER_OURS_S = 30


def coordinator(
    environment: Mapping[str, str], settings: Mapping[str, Any] = MappingProxyType({})
) -> tuple[str, int] | None:
    """Host and port that JAX will connect to; None when nobody gave any.

    `settings` are the arguments of `jax.distributed.initialize()`, which come first.
    """
    address = settings.get("coordinator_address")
    address = address or environment.get("JAX_COORDINATOR_ADDRESS")
    if address:
        host, _, number = address.rpartition(":")
        return host, int(number)
    if STEP_NODE_LIST not in environment:
        return None
    port = environment.get("JAX_COORDINATOR_PORT")
    if not port:
        # JAX's own rule (jax/_src/clusters/slurm_cluster.py).
        port = str(int(environment[JOB_ID]) % 4096 + 61440)
    return expand(environment[STEP_NODE_LIST])[0], int(port)


def local_device_ids() -> list[int] | None:
    """Ordinals, within the GPUs this task can see, of those that are its own.

    The image's entry works them out from Slurm's variables; None, which leaves the
    choice to JAX, when it did not.
    """
    ordinals = os.environ.get("JAX_LOCAL_DEVICE_IDS")
    return [int(ordinal) for ordinal in ordinals.split(",")] if ordinals else None


def has_devices() -> bool:
    """Whether the program has used JAX's devices; asking JAX itself would start them."""
    from jax._src import xla_bridge

    return bool(xla_bridge.backends_are_initialized())


def join(limits: Limits, settings: Mapping[str, Any]) -> Any:
    """Calls `jax.distributed.initialize()` with limits that end a broken group soon.

    Returns JAX's client of the coordinator. `settings` are the caller's own arguments
    and win.
    """
    import jax

    # There is no public way to the client (JAX 0.12).
    from jax._src.distributed import global_state

    # JAX replaces a handler that is there already by its own.
    handler = signal.getsignal(signal.SIGTERM)
    jax.distributed.initialize(
        **{
            "local_device_ids": local_device_ids(),
            "initialization_timeout": int(
                min(limits.deadline_s("connected"), 86400) + _AFTER_OURS_S
            ),
            "heartbeat_timeout_seconds": limits.heartbeat_s,
            "shutdown_timeout_seconds": limits.shutdown_s,
            **settings,
        }
    )
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
    return global_state.client
