"""Where the group's coordinator is and which devices are this rank's; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from jaxsif.contract.hostlist import expand
from jaxsif.contract.identity import JOB_ID, RANK, STEP_NODE_LIST

_POLL_INTERVAL_S = 0.02


def coordinator(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Host and port that JAX will connect to; None when no launcher gave any."""
    address = environment.get("JAX_COORDINATOR_ADDRESS")
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


def wait_for_coordinator(limit_s: float = 60.0) -> bool:
    """Waits until rank 0 listens, so that connecting works at the first attempt.

    gRPC answers a refused first attempt with growing pauses, 1 s and more for a rank 0
    that is only a moment late. Returns False when the limit passed, or at once when
    there is nobody to wait for; JAX's own attempt then tells what is wrong.
    """
    where = coordinator(os.environ)
    if where is None or os.environ.get(RANK) == "0":
        return False
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(where, timeout=1.0):
                return True
        except OSError:
            time.sleep(_POLL_INTERVAL_S)
    return False


def local_device_ids() -> list[int] | None:
    """Ordinals, within the GPUs this task can see, of those that are its own.

    The image's entry works them out from Slurm's variables; None, which leaves the
    choice to JAX, when it did not.
    """
    ordinals = os.environ.get("JAX_LOCAL_DEVICE_IDS")
    return [int(ordinal) for ordinal in ordinals.split(",")] if ordinals else None
