"""All-gather bytes and texts unchanged between all processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import functools
import os
import socket

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsif.arrays.wording import format_problems
from jaxsif.core.errors import KitError
from jaxsif.core.slurm_env import NODE_NAME


def all_gather_bytes(mine: np.ndarray) -> np.ndarray:
    """What each process has brought, uint8 of shape (processes, bytes).

    All processes have to call it, each with uint8 of the same shape (bytes,). Bytes,
    because JAX would make 32-bit numbers of 64-bit ones, and silently wrong ones where
    they do not fit.
    """
    if jax.process_count() == 1:
        return mine[np.newaxis]
    spread, everywhere = _shardings()
    piece = jax.device_put(mine[np.newaxis], spread.mesh.local_mesh.devices.item())
    rows = jax.make_array_from_single_device_arrays(
        (jax.process_count(), len(mine)), spread, [piece]
    )
    return np.asarray(_identity(everywhere)(rows).addressable_data(0))


@functools.cache
def _shardings() -> tuple[NamedSharding, NamedSharding]:
    """Of rows, one a process, on one device of each process: spread, and everywhere."""
    first: dict[int, jax.Device] = {}
    for device in jax.devices():
        first.setdefault(device.process_index, device)
    mesh = Mesh(np.array([first[process] for process in sorted(first)]), ("process",))
    return NamedSharding(mesh, P("process", None)), NamedSharding(mesh, P())


@functools.cache
def _identity(sharding: NamedSharding) -> jax.stages.Wrapped:
    """Compiled once for each length, not at each call."""
    return jax.jit(lambda rows: rows, out_shardings=sharding)


def exchange(word: str) -> list[str]:
    """The words of all processes, by rank; all have to call it, with any text."""
    mine = np.frombuffer(word.encode(), np.uint8)
    lengths = all_gather_bytes(np.array([len(mine)], np.int64).view(np.uint8))
    counts = np.ascontiguousarray(lengths).view(np.int64).ravel()
    padded = np.zeros(max(int(counts.max()), 1), np.uint8)
    padded[: len(mine)] = mine
    return [
        row[:count].tobytes().decode()
        for row, count in zip(all_gather_bytes(padded), counts, strict=True)
    ]


def raise_on_all(problem: str) -> None:
    """Raises KitError in all processes when there is a problem in one, which names it.

    All processes have to call it; an empty text is no problem. So none waits for one
    that has given up.
    """
    complaint = format_problems(exchange(problem and f"{own_node()}: {problem}"))
    if complaint:
        raise KitError(complaint)


def own_node() -> str:
    """The name of this process's node, from its launcher."""
    return os.environ.get(NODE_NAME) or socket.gethostname().partition(".")[0]
