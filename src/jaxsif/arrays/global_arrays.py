"""Make one global array of the parts of all processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from jaxsif.arrays import index_ranges
from jaxsif.arrays.comparison import differences
from jaxsif.arrays.gathering import all_gather_facts
from jaxsif.arrays.layout import format_sharding, row_sharding
from jaxsif.core.errors import KitError


def global_array(
    local: Any, sharding: Sharding | None = None, *, is_checked: bool = True
) -> jax.Array:
    """Return one array over all processes, made of the part of each.

    The inverse of `local_part`. For a tree: `jax.tree.map(global_array, tree)`.

    Args:
      local: this process's part, of shape (rows, ...): anything that numpy converts to
        an array. With the default sharding, rank 0's rows come first, then rank 1's,
        and every process gives equally many: the result has shape (rows x processes,
        ...).
      sharding: default: the rows split over all devices. If several processes hold the
        same part, each of them gives it.
      is_checked: whether the processes compare their parts, in some milliseconds; then
        all must call it. Without this check, a different shape in one process leads to
        arrays that differ between the processes, and to a hang or wrong numbers.

    Raises KitError in all processes, with rank and node, if shapes or types differ,
    rows are not divisible by the devices, integers do not fit JAX's 32 bits
    (`JAX_ENABLE_X64`), or processes that hold the same part give different values.
    """
    values = np.asarray(local)
    sharding = sharding or row_sharding()
    problem, shape = _global_shape(values, sharding)
    if is_checked:
        _compare(values, sharding, problem, shape)
    elif problem:
        raise KitError(problem)
    return jax.make_array_from_process_local_data(sharding, values, shape)


def _global_shape(
    values: np.ndarray, sharding: Sharding
) -> tuple[str, tuple[int, ...]]:
    """The problem of this process's part, or the shape of the global array."""
    try:
        all_cuts, own_cuts = _cuts(sharding, values.ndim)
    except ValueError as error:
        return (
            f"the sharding {sharding} does not suit shape {values.shape}: {error}",
            (),
        )
    for length, cuts in zip(values.shape, own_cuts, strict=True):
        if length % cuts:
            return (
                f"its part has shape {values.shape}, and {length} is not divisible by"
                f" {cuts} devices; give a multiple of them, or pad"
            ), ()
    if not _fits(values):
        return (
            f"{values.dtype} values that do not fit 32 bits, which is what JAX computes"
            " with; set JAX_ENABLE_X64=1"
        ), ()
    return "", tuple(
        length // own * total
        for length, own, total in zip(values.shape, own_cuts, all_cuts, strict=True)
    )


def _cuts(sharding: Sharding, dimensions: int) -> tuple[list[int], list[int]]:
    """The number of pieces of each dimension, in total and in this process."""
    # A shape that is divisible in every dimension shows how any is divided.
    shape = (len(sharding.device_set),) * dimensions
    piece = sharding.shard_shape(shape)
    own = {
        index_ranges.from_index(index, shape)
        for index in sharding.addressable_devices_indices_map(shape).values()
    }
    return (
        [length // part for length, part in zip(shape, piece, strict=True)],
        [len({part[d] for part in own}) for d in range(dimensions)],
    )


def _fits(values: np.ndarray) -> bool:
    """Whether JAX keeps the values of an integer array."""
    kept = jax.dtypes.canonicalize_dtype(values.dtype)
    if values.dtype.kind not in "iu" or kept == values.dtype or not values.size:
        return True
    limits = np.iinfo(kept)
    return bool(limits.min <= values.min() and values.max() <= limits.max)


def _compare(
    values: np.ndarray, sharding: Sharding, problem: str, shape: tuple[int, ...]
) -> None:
    """Raise KitError in all processes unless their parts make one array."""
    own = {
        "problem": problem,
        "shape": str(values.shape),
        "type": str(values.dtype),
        "global_shape": str(shape),
        "sharding": format_sharding(sharding),
        "replica": [] if problem else _replica(values, sharding, shape),
    }
    facts, nodes = all_gather_facts(own)
    for rank, info in enumerate(facts):
        if info["problem"]:
            raise KitError(
                f"global_array(): rank {rank} on {nodes[rank]}: {info['problem']}"
            )
    # Parts of different shapes may make one array, with an uneven sharding.
    is_one = len({info["global_shape"] for info in facts}) == 1
    names = ("sharding", "type") if is_one else ("sharding", "type", "shape")
    compared = [{name: info[name] for name in names} for info in facts]
    problems = [*differences(compared, nodes)] or _differing_replicas(facts, nodes)
    if problems:
        raise KitError(
            f"global_array(): {'; '.join(problems)}; give parts that make one array"
        )


def _replica(
    values: np.ndarray, sharding: Sharding, shape: tuple[int, ...]
) -> list[str]:
    """The part that this process gives and its checksum; empty if no other gives it."""
    index_of = sharding.devices_indices_map(shape)
    if len({str(index) for index in index_of.values()}) == len(index_of):
        return []
    part = index_ranges.bounding_range(
        index_ranges.from_index(index_of[device], shape)
        for device in sharding.addressable_devices
    )
    content = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return [index_ranges.format_range(part), f"{zlib.crc32(content):08x}"]


def _differing_replicas(
    facts: Sequence[Mapping[str, Any]], nodes: Sequence[str]
) -> list[str]:
    """Parts of which processes give different copies."""
    ranks_of: dict[str, list[int]] = defaultdict(list)
    for rank, info in enumerate(facts):
        if info["replica"]:
            ranks_of[info["replica"][0]].append(rank)
    return [
        problem
        for part, ranks in ranks_of.items()
        for problem in differences(
            [{f"the copy of {part}": facts[r]["replica"][1]} for r in ranks],
            [nodes[r] for r in ranks],
        )
    ]
