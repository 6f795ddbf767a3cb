"""An array's layout on all devices, its local part, and its description as text."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import time
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
    """All devices of all processes as a mesh, in the order of ranks.

        device_mesh()                      # one axis, "device"
        device_mesh(data=-1, model=2)      # two axes; -1: the remaining factor

    Unlike this, `jax.make_mesh` may reject devices of several nodes, and reorders them,
    so that an array's rows do not follow the ranks.

    Raises UsageError if the number of devices is not the product of the lengths.
    """
    devices = sorted(
        jax.devices(), key=lambda device: (device.process_index, device.id)
    )
    lengths = dict(axes) or {AXIS: -1}
    known = math.prod(length for length in lengths.values() if length != -1)
    open_axes = list(lengths.values()).count(-1)
    fits = known > 0 and (
        len(devices) % known == 0 if open_axes == 1 else known == len(devices)
    )
    if open_axes > 1 or not fits:
        raise UsageError(
            f"device_mesh() got {lengths}, and there are {len(devices)} devices; give"
            " lengths whose product is that, with at most one -1"
        )
    shape = [len(devices) // known if n == -1 else n for n in lengths.values()]
    return Mesh(np.array(devices).reshape(shape), tuple(lengths))


def row_sharding() -> NamedSharding:
    """The first dimension split over all devices, in the order of ranks."""
    return NamedSharding(device_mesh(), P(AXIS))


def local_index(array: jax.Array) -> tuple[slice, ...]:
    """The part of an array that this process holds, as a numpy index.

    No communication. Raises UsageError if its parts are not contiguous, as with a mesh
    whose processes are not adjacent; `array.addressable_shards` has them one by one.
    """
    return index_ranges.to_index(_local_range(array))


def local_part(array: jax.Array) -> np.ndarray:
    """The part of an array that this process holds, as in `local_index(array)`.

    The inverse of `global_array`. No communication; waits until the values are
    computed.

    Raises UsageError as `local_index`.
    """
    bounds = _local_range(array)
    origin = [begin for begin, _ in bounds]
    values = np.empty(index_ranges.extents(bounds), array.dtype)
    for part, data in local_shards(array):
        values[index_ranges.to_index(part, origin)] = np.asarray(data)
    return values


def local_shards(array: jax.Array) -> list[tuple[IndexRange, jax.Array]]:
    """The part of each device of this process, with its data."""
    # The index of random keys has one dimension more, that of their data.
    return [
        (index_ranges.from_index(shard.index[: array.ndim], array.shape), shard.data)
        for shard in array.addressable_shards
    ]


def _local_range(array: jax.Array) -> IndexRange:
    parts = [part for part, _ in local_shards(array)]
    if not parts or not index_ranges.is_contiguous(parts):
        held = " ".join(map(index_ranges.format_range, parts)) or "nothing"
        raise UsageError(
            f"this process holds {held} of the array, which is not contiguous; use"
            " array.addressable_shards, or another mesh"
        )
    return index_ranges.bounding_range(parts)


def parts_of_processes(array: jax.Array) -> dict[int, list[IndexRange]]:
    """The parts that each process holds, by rank; without communication."""
    parts_of: dict[int, list[IndexRange]] = defaultdict(list)
    for device, index in array.sharding.devices_indices_map(array.shape).items():
        part = index_ranges.from_index(index, array.shape)
        parts_of[device.process_index].append(part)
    return dict(sorted(parts_of.items()))


def format_sharding(sharding: Sharding) -> str:
    """`P('device') on 8 devices, mesh device=8`"""
    count = len(sharding.device_set)
    devices = f"{count} device{'s' * (count != 1)}"
    if not isinstance(sharding, NamedSharding):
        return f"{type(sharding).__name__} on {devices}"
    axes = ", ".join(f"{axis}={length}" for axis, length in sharding.mesh.shape.items())
    spec = ", ".join(map(repr, sharding.spec))
    return f"P({spec}) on {devices}, mesh {axes}"


_POLL_INTERVAL_S = 0.01
_INDENT = "  "


def describe(
    array: jax.Array, name: str = "array", *, max_values: int = 64, wait_s: float = 10
) -> str:
    """Shape, type, sharding, the part of each rank, and the values of this process.

    It can be called by a single process, e.g. `if jax.process_index() == 0:`, where
    `print(array)` raises an exception, and gathering waits forever.

    Args:
      name: the array's name in the text.
      max_values: how many values are shown, the first and the last; 0: none.
      wait_s: how long to wait for values that are still being computed.
    """
    lines = [
        f"{name}: {array.dtype}{list(array.shape)}, {format_sharding(array.sharding)}",
        *index_ranges.describe_ownership(parts_of_processes(array)),
    ]
    if max_values:
        lines += _values(array, max_values, wait_s)
    return f"\n{_INDENT}".join(lines)


def _values(array: jax.Array, max_values: int, wait_s: float) -> list[str]:
    """The values of this process, part by part."""
    rank = f"rank {jax.process_index()}"
    if array.is_deleted():
        return [f"{rank}: its values are gone, deleted or donated to a computation"]
    if not array.addressable_shards:
        return [f"{rank} holds nothing of it"]
    if not _is_ready(array, wait_s):
        return [f"{rank}: its values are still being computed after {wait_s:g} s"]
    values_of = _local_values(array)
    limit = max(max_values // len(values_of), 1)
    lines = []
    for part, values in values_of.items():
        text = np.array2string(values, threshold=limit, edgeitems=2)
        where = f" in {index_ranges.format_range(part)}" if part else ""
        lines.append(f"{rank} has{where}")
        lines += [f"{_INDENT}{line}" for line in text.splitlines()]
    return lines


def _local_values(array: jax.Array) -> dict[IndexRange, np.ndarray]:
    """The values of this process by part, as one part if they are contiguous."""
    is_of_keys = jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended)
    shards = local_shards(array)
    parts = index_ranges.coalesce(part for part, _ in shards)
    if len(parts) == 1 and not is_of_keys:
        return {parts[0]: local_part(array)}
    # Keys are shown by their data, which has one dimension more.
    to_numpy = jax.random.key_data if is_of_keys else np.asarray
    return {part: np.asarray(to_numpy(data)) for part, data in shards}


def _is_ready(array: jax.Array, wait_s: float) -> bool:
    """Whether the values are ready in time; other processes may never start theirs."""
    deadline_s = time.monotonic() + wait_s
    # An array of random keys has no is_ready().
    is_ready = getattr(array, "is_ready", lambda: True)
    while not is_ready():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_INTERVAL_S)
    return True
