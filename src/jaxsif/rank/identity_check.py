"""Prove that the peers of a collective are the ranks of this run."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsif.core.slurm_env import Identity


def foreign_slots(identity: Identity) -> list[list[int]]:
    """All-reduce one token per device and return the slots with a wrong one.

    Device d contributes an int32 row of shape (devices,) that is zero except for
    element d, the token of its job, step, restart, rank and slot. After the sum every
    device holds all tokens, and each is known beforehand: a sum of ones only counts the
    peers, this identifies them. A slot is `[rank, device of that rank]`.
    """
    # Not jax.make_mesh: it rejects device sets that span nodes (netket/netket#2260).
    devices = np.array(jax.devices())
    mesh = Mesh(devices, ("device",))
    slots = _slots(devices)
    own = [
        _row(i, identity.token(identity.rank, slot), len(devices))
        for i, (process, slot) in enumerate(slots)
        if process == jax.process_index()
    ]
    rows = jax.make_array_from_process_local_data(
        NamedSharding(mesh, P("device", None)), np.stack(own)
    )
    total = _sum_rows(mesh)(rows)
    expected = np.array([identity.token(*slot) for slot in slots], np.int32)
    got = np.concatenate([np.asarray(s.data) for s in total.addressable_shards])
    wrong = (got != expected).any(axis=0)
    return [list(slots[i]) for i in np.flatnonzero(wrong)]


def sum_of_ones() -> jax.Array:
    """All-reduce a one from every device; each gets the number of devices."""
    mesh = Mesh(np.array(jax.devices()), ("device",))
    ones = jax.make_array_from_process_local_data(
        NamedSharding(mesh, P("device", None)),
        np.ones((jax.local_device_count(), 1), np.float32),
    )
    return _sum_rows(mesh)(ones)


def _slots(devices: np.ndarray) -> list[tuple[int, int]]:
    """For each device its process and its index among the devices of that process."""
    seen: Counter[int] = Counter()
    slots = []
    for device in devices:
        slots.append((device.process_index, seen[device.process_index]))
        seen[device.process_index] += 1
    return slots


def _row(index: int, token: int, length: int) -> np.ndarray:
    row = np.zeros(length, np.int32)
    row[index] = token
    return row


def _sum_rows(mesh: Mesh) -> jax.stages.Wrapped:
    rows = P("device", None)
    return jax.jit(
        jax.shard_map(
            lambda row: jax.lax.psum(row, "device"),
            mesh=mesh,
            in_specs=rows,
            out_specs=rows,
        )
    )
