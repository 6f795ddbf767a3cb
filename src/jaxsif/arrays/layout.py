"""The layout of an array on the devices of all processes, and the local part."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections import defaultdict

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from jaxsif.arrays import index_ranges
from jaxsif.arrays.index_ranges import IndexRange
from jaxsif.core.errors import UsageError

# The default name of a mesh's only axis.
AXIS = "device"


def device_mesh(**axes: int) -> Mesh:
    """All devices of all processes as a mesh, process after process.

        device_mesh()                      # one axis, "device"
        device_mesh(data=-1, model=2)      # two axes; -1: as many as there are

    Not `jax.make_mesh`: that one may refuse devices that span nodes, and puts them into
    an order of its own, where here rows of an array follow the ranks.

    Raises UsageError when the devices do not divide so.
    """
    devices = sorted(
        jax.devices(), key=lambda device: (device.process_index, device.id)
    )
    lengths = dict(axes) or {AXIS: -1}
    known = math.prod(length for length in lengths.values() if length != -1)
    is_open = list(lengths.values()).count(-1)
    fits = known > 0 and (
        len(devices) % known == 0 if is_open == 1 else known == len(devices)
    )
    if is_open > 1 or not fits:
        raise UsageError(
            f"device_mesh() got {lengths}, and there are {len(devices)} devices; give"
            " lengths whose product is that, with at most one -1"
        )
    shape = [len(devices) // known if n == -1 else n for n in lengths.values()]
    return Mesh(np.array(devices).reshape(shape), tuple(lengths))


def by_rows() -> NamedSharding:
    """The first dimension cut into as many pieces as there are devices, by rank."""
    return NamedSharding(device_mesh(), P(AXIS))


def local_index(array: jax.Array) -> tuple[slice, ...]:
    """Which part of an array this process holds, as a numpy index. No communication.

    Raises UsageError when its parts do not make one box, as with a mesh whose processes
    are not side by side; `array.addressable_shards` has them one by one.
    """
    return index_ranges.as_index(_own_box(array))


def local_part(array: jax.Array) -> np.ndarray:
    """What this process holds of an array: its shape is that of `local_index(array)`.

    The inverse of `global_array`. No communication; waits until the values are computed.

    Raises UsageError as `local_index`.
    """
    box = _own_box(array)
    origin = [begin for begin, _ in box]
    part = np.empty(index_ranges.extents(box), array.dtype)
    for own, data in own_shards(array):
        part[index_ranges.as_index(own, origin)] = np.asarray(data)
    return part


def own_boxes(array: jax.Array) -> list[IndexRange]:
    """What each device of this process holds."""
    return [box for box, _ in own_shards(array)]


def own_shards(array: jax.Array) -> list[tuple[IndexRange, jax.Array]]:
    """What each device of this process holds, with the part that it is."""
    # The index of random keys has one dimension more, that of their data.
    return [
        (index_ranges.index_range(shard.index[: array.ndim], array.shape), shard.data)
        for shard in array.addressable_shards
    ]


def _own_box(array: jax.Array) -> IndexRange:
    found = own_boxes(array)
    if not found or not index_ranges.is_contiguous(found):
        words = " ".join(map(index_ranges.in_words, found)) or "nothing"
        raise UsageError(
            f"this process holds {words} of the array, which is not one box; use"
            " array.addressable_shards, or another mesh"
        )
    return index_ranges.hull(found)


def process_boxes(array: jax.Array) -> dict[int, list[IndexRange]]:
    """What each process holds, by rank. From the sharding, without communication."""
    found: dict[int, list[IndexRange]] = defaultdict(list)
    for device, index in array.sharding.devices_indices_map(array.shape).items():
        found[device.process_index].append(index_ranges.index_range(index, array.shape))
    return dict(sorted(found.items()))


def sharding_in_words(sharding: Sharding) -> str:
    """`P('device') on 8 devices, mesh device=8`"""
    count = len(sharding.device_set)
    on = f"{count} device{'s' * (count != 1)}"
    if not isinstance(sharding, NamedSharding):
        return f"{type(sharding).__name__} on {on}"
    axes = ", ".join(f"{axis}={length}" for axis, length in sharding.mesh.shape.items())
    spec = ", ".join(map(repr, sharding.spec))
    return f"P({spec}) on {on}, mesh {axes}"
