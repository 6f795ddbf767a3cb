"""Describe a global array as text, without communication."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time

import jax
import numpy as np

from jaxsif.arrays import index_ranges
from jaxsif.arrays.index_ranges import IndexRange
from jaxsif.arrays.layout import (
    format_sharding,
    local_part,
    local_shards,
    parts_of_processes,
)

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
