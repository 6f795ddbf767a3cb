"""Make one global array of what each process has."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from jaxsif.arrays import index_ranges
from jaxsif.arrays.gathering import exchange, own_node
from jaxsif.arrays.layout import by_rows, sharding_in_words
from jaxsif.arrays.wording import differences
from jaxsif.core.errors import KitError


def global_array(
    local: Any, sharding: Sharding | None = None, *, is_checked: bool = True
) -> jax.Array:
    """One array over all processes, of what each of them has.

    The inverse of `local_part`. For a tree of arrays: `jax.tree.map(global_array, tree)`.

    Args:
      local: this process's part, of shape (rows, ...): anything of which numpy makes an
        array. With the default sharding the rows of rank 0 come first, then those of
        rank 1, and every process brings as many: (rows x processes, ...) in all.
      sharding: how the whole is spread; by default its rows over all devices. Where two
        processes hold the same part, both bring it.
      is_checked: whether the processes compare what they bring, in some milliseconds: all
        have to call it then. Without that, another shape in one process gives JAX an
        array of which the processes think differently, and a hang or wrong numbers.

    Raises KitError in all processes, with rank and node, when shapes or types differ,
    rows do not divide over the devices, whole numbers do not fit JAX's 32 bits
    (`JAX_ENABLE_X64`), or processes that hold the same part bring different values.
    """
    values = np.asarray(local)
    sharding = sharding or by_rows()
    problem, shape = _plan(values, sharding)
    if is_checked:
        _compare(values, sharding, problem, shape)
    elif problem:
        raise KitError(problem)
    return jax.make_array_from_process_local_data(sharding, values, shape)


def _plan(values: np.ndarray, sharding: Sharding) -> tuple[str, tuple[int, ...]]:
    """What is wrong with a part by itself, and the shape that the whole would have."""
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
                f"its part has shape {values.shape}, and {length} does not divide over"
                f" {cuts} devices; bring as many as divide, or pad"
            ), ()
    if not _fits(values):
        return (
            f"{values.dtype} values that do not fit 32 bits, which is what JAX computes"
            " with; set JAX_ENABLE_X64=1"
        ), ()
    return "", tuple(
        length // own * every
        for length, own, every in zip(values.shape, own_cuts, all_cuts, strict=True)
    )


def _cuts(sharding: Sharding, dimensions: int) -> tuple[list[int], list[int]]:
    """Into how many pieces each dimension is cut, in all and in this process."""
    # An array that certainly divides shows how it cuts any.
    shape = (len(sharding.device_set),) * dimensions
    piece = sharding.shard_shape(shape)
    own = {
        index_ranges.index_range(index, shape)
        for index in sharding.addressable_devices_indices_map(shape).values()
    }
    return (
        [whole // part for whole, part in zip(shape, piece, strict=True)],
        [len({box[d] for box in own}) for d in range(dimensions)],
    )


def _fits(values: np.ndarray) -> bool:
    """Whether JAX keeps whole numbers as they are."""
    kept = jax.dtypes.canonicalize_dtype(values.dtype)
    if values.dtype.kind not in "iu" or kept == values.dtype or not values.size:
        return True
    limits = np.iinfo(kept)
    return bool(limits.min <= values.min() and values.max() <= limits.max)


def _compare(
    values: np.ndarray, sharding: Sharding, problem: str, shape: tuple[int, ...]
) -> None:
    """Raises KitError in all processes unless their parts make one array."""
    facts = {
        "problem": problem,
        "node": own_node(),
        "shape": str(values.shape),
        "type": str(values.dtype),
        "whole": str(shape),
        "sharding": sharding_in_words(sharding),
        "part": "" if problem else _part(values, sharding, shape),
    }
    cards = [json.loads(word) for word in exchange(json.dumps(facts))]
    bad = [(rank, card) for rank, card in enumerate(cards) if card["problem"]]
    if bad:
        rank, card = bad[0]
        raise KitError(
            f"global_array(): rank {rank} on {card['node']}: {card['problem']}"
        )
    # Of shapes that differ one array can be made, where the shares differ as they do.
    is_one = len({card["whole"] for card in cards}) == 1
    names = ("sharding", "type") if is_one else ("sharding", "type", "shape")
    words = [{name: (card[name], card[name]) for name in names} for card in cards]
    nodes = [card["node"] for card in cards]
    found = list(differences(words, nodes)) or list(_unlike_copies(cards, nodes))
    if found:
        raise KitError(
            f"global_array(): {'; '.join(found)}; bring parts that make one array"
        )


def _part(values: np.ndarray, sharding: Sharding, shape: tuple[int, ...]) -> list[str]:
    """Which part of the whole this process brings, and a sum of it where others may
    bring it too."""
    index_of = sharding.devices_indices_map(shape)
    if len({str(index) for index in index_of.values()}) == len(index_of):
        return []
    own = index_ranges.hull(
        index_ranges.index_range(index_of[device], shape)
        for device in sharding.addressable_devices
    )
    content = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return [index_ranges.in_words(own), f"{zlib.crc32(content):08x}"]


def _unlike_copies(cards: Sequence[dict[str, Any]], nodes: Sequence[str]) -> list[str]:
    """Parts of which processes bring different copies."""
    by_part: dict[str, list[int]] = defaultdict(list)
    for rank, card in enumerate(cards):
        if card["part"]:
            by_part[card["part"][0]].append(rank)
    found: list[str] = []
    for part, members in by_part.items():
        words = [{f"the copy of {part}": (cards[r]["part"][1],) * 2} for r in members]
        found += differences(words, [nodes[r] for r in members])
    return found
