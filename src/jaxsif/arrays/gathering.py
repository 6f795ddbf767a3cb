"""Gather arrays, values and texts of all processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsif.arrays import index_ranges
from jaxsif.arrays.index_ranges import IndexRange
from jaxsif.arrays.layout import own_shards, process_boxes
from jaxsif.arrays.wording import differences, format_problems
from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.slurm_env import NODE_NAME

# Maximum device memory used, for any size of array.
_MAX_BYTES = 256 * 2**20


def all_gather(array: jax.Array) -> np.ndarray:
    """A whole global array in every process, bit for bit, of the array's own shape.

    All processes have to call it. For results, not for inner loops: it passes through
    the hosts, in pieces, and each process needs twice the array's size of host memory.

    Raises UsageError for an array that is this process's own alone
    (`all_gather_local`), and for random keys (`jax.random.key_data`).
    """
    _check_global(array)
    whole = _gathered(array, is_wanted=True)
    assert whole is not None
    return whole


def gather(array: jax.Array, to: int = 0) -> np.ndarray | None:
    """A whole global array in the process `to`, and None in the others.

    As `all_gather`, but only one host needs the memory. All processes have to call it.

    Raises UsageError as `all_gather`, and for a rank that there is not.
    """
    _check_global(array)
    if not 0 <= to < jax.process_count():
        raise UsageError(
            f"gather() got to={to}, and ranks are 0 to {jax.process_count() - 1}"
        )
    return _gathered(array, is_wanted=jax.process_index() == to)


def all_gather_local(value: Any) -> np.ndarray:
    """What each process has, in every process: shape (processes, *shape of one).

    All processes have to call it, with anything of which numpy makes an array. Types
    stay as they are, of 64 bits too: `jax.experimental.multihost_utils.process_allgather`
    converts them to 32 bits, and silently to wrong numbers if they do not fit. And the
    first dimension exists even with one process (jax-ml/jax#25783).

    Raises KitError in all processes when shapes or types differ, and UsageError for a
    global array and for Python objects.
    """
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        raise UsageError(
            "all_gather_local() got an array of all processes; all_gather() gathers it"
        )
    values = np.asarray(value)
    if values.dtype.hasobject:
        raise UsageError(
            f"all_gather_local() got {type(value).__name__}, of which numpy makes no"
            " numbers; give an array"
        )
    _check_alike(values)
    rows = all_gather_bytes(_bytes(values))
    shape = (jax.process_count(), *values.shape)
    return np.frombuffer(rows.tobytes(), values.dtype).reshape(shape).copy()


def _check_alike(values: np.ndarray) -> None:
    card = {
        "node": own_node(),
        "shape": str(values.shape),
        "type": str(values.dtype),
    }
    cards = [json.loads(word) for word in exchange(json.dumps(card))]
    words = [{name: (c[name], c[name]) for name in ("type", "shape")} for c in cards]
    found = list(differences(words, [c["node"] for c in cards]))
    if found:
        raise KitError(
            f"all_gather_local(): {'; '.join(found)}; every process has to give one of"
            " the same shape and type"
        )


def _check_global(array: jax.Array) -> None:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended):
        raise UsageError(
            f"cannot gather {array.dtype}; gather jax.random.key_data(keys), and make keys"
            " of it again by jax.random.wrap_key_data"
        )
    if jax.process_count() > 1 and array.is_fully_addressable:
        raise UsageError(
            f"this array of shape {array.shape} is this process's own alone;"
            " all_gather_local() gathers what each process has"
        )


def _gathered(array: jax.Array, *, is_wanted: bool) -> np.ndarray | None:
    if array.is_fully_replicated or array.is_fully_addressable:
        return np.asarray(array) if is_wanted else None
    owner_of = index_ranges.owners(process_boxes(array))
    sizes = [0] * jax.process_count()
    for box, process in owner_of.items():
        sizes[process] += index_ranges.volume(box) * array.dtype.itemsize
    mine = _own_bytes(array, owner_of)
    received = [bytearray() for _ in sizes]
    for rows in _rounds(mine, max(sizes)):
        if is_wanted:
            for buffer, row in zip(received, rows, strict=True):
                buffer += row.data
    return _assembled(array, owner_of, received) if is_wanted else None


def _own_bytes(array: jax.Array, owner_of: dict[IndexRange, int]) -> np.ndarray:
    """The bytes of the boxes for which this process stands, one after the other."""
    data = dict(own_shards(array))
    mine = [box for box, process in owner_of.items() if process == jax.process_index()]
    parts = [_bytes(np.asarray(data[box])) for box in mine]
    return np.concatenate([np.empty(0, np.uint8), *parts])


def _rounds(mine: np.ndarray, longest: int) -> Iterator[np.ndarray]:
    """The bytes of all processes, piece by piece; short ones are filled up."""
    step = max(_MAX_BYTES // jax.process_count(), 1)
    for begin in range(0, longest, step):
        piece = np.zeros(min(step, longest - begin), np.uint8)
        part = mine[begin : begin + step]
        piece[: len(part)] = part
        yield all_gather_bytes(piece)


def _assembled(
    array: jax.Array, owner_of: dict[IndexRange, int], received: list[bytearray]
) -> np.ndarray:
    whole = np.empty(array.shape, array.dtype)
    begins = [0] * len(received)
    for box, process in owner_of.items():
        count = index_ranges.volume(box)
        flat = np.frombuffer(received[process], array.dtype, count, begins[process])
        whole[index_ranges.as_index(box)] = flat.reshape(index_ranges.extents(box))
        begins[process] += count * array.dtype.itemsize
    return whole


def _bytes(values: np.ndarray) -> np.ndarray:
    """The memory of an array, as uint8 of shape (bytes,)."""
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


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
