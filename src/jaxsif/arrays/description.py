"""Describe a global array as text, without communication."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time

import jax
import numpy as np

from jaxsif.arrays import index_ranges, wording
from jaxsif.arrays.index_ranges import IndexRange
from jaxsif.arrays.layout import (
    local_part,
    own_boxes,
    own_shards,
    process_boxes,
    sharding_in_words,
)

_POLL_INTERVAL_S = 0.01
_INDENT = "  "


def describe(
    array: jax.Array, name: str = "array", *, most_values: int = 64, wait_s: float = 10
) -> str:
    """Shape, type and sharding, which rank holds what, and the values that are here.

    It can be called by a single process, e.g. `if jax.process_index() == 0:`, where
    `print(array)` raises an exception, and gathering waits forever.

    Args:
      name: how the text calls the array.
      most_values: how many values are shown; of more the first and the last. 0: none.
      wait_s: how long to wait for values that are still being computed.
    """
    lines = [
        f"{name}: {array.dtype}{list(array.shape)}, {sharding_in_words(array.sharding)}",
        *wording.holdings(process_boxes(array)),
    ]
    if most_values:
        lines += _values(array, most_values, wait_s)
    return f"\n{_INDENT}".join(lines)


def _values(array: jax.Array, most_values: int, wait_s: float) -> list[str]:
    """The values of this process, box by box."""
    who = f"rank {jax.process_index()}"
    if array.is_deleted():
        return [f"{who}: its values are gone, deleted or donated to a computation"]
    if not array.addressable_shards:
        return [f"{who} holds nothing of it"]
    if not _is_ready(array, wait_s):
        return [f"{who}: its values are still being computed after {wait_s:g} s"]
    parts = _parts(array)
    each = max(most_values // len(parts), 1)
    lines = []
    for box, values in parts.items():
        text = np.array2string(values, threshold=each, edgeitems=2)
        lines.append(
            f"{who} has in {index_ranges.in_words(box)}" if box else f"{who} has"
        )
        lines += [f"{_INDENT}{line}" for line in text.splitlines()]
    return lines


def _parts(array: jax.Array) -> dict[IndexRange, np.ndarray]:
    """The values of this process by the part that they are, in one piece if they are."""
    is_of_keys = jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended)
    own = index_ranges.merged(own_boxes(array))
    if len(own) == 1 and not is_of_keys:
        return {own[0]: local_part(array)}
    # Keys are shown by their data, which has one dimension more.
    plain = jax.random.key_data if is_of_keys else np.asarray
    return {box: np.asarray(plain(data)) for box, data in own_shards(array)}


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
