"""Gather arrays, values and texts of all processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsif.arrays import index_ranges
from jaxsif.arrays.comparison import differences, format_problems
from jaxsif.arrays.index_ranges import IndexRange
from jaxsif.arrays.layout import local_shards, parts_of_processes
from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.slurm_env import NODE_NAME

# Maximum device memory used, for any size of array.
_MAX_BYTES = 256 * 2**20


def all_gather(array: jax.Array) -> np.ndarray:
    """Return a global array's values in every process, exact and of the array's shape.

    All processes must call it. Meant for results, not for inner loops: the data pass
    through the hosts, and each process needs twice the array's size of host memory.

    Raises UsageError for an array of this process only (`all_gather_local`), and for
    random keys (`jax.random.key_data`).
    """
    _check_global(array)
    values = _gather(array, is_destination=True)
    assert values is not None
    return values


def gather(array: jax.Array, to: int = 0) -> np.ndarray | None:
    """Return a global array's values in the process `to`, and None in the others.

    Like `all_gather`, but only one host needs the memory. All processes must call it.

    Raises UsageError like `all_gather`, and if there is no rank `to`.
    """
    _check_global(array)
    if not 0 <= to < jax.process_count():
        raise UsageError(
            f"gather() got to={to}, and ranks are 0 to {jax.process_count() - 1}"
        )
    return _gather(array, is_destination=jax.process_index() == to)


def all_gather_local(value: Any) -> np.ndarray:
    """Return every process's value in every process: (processes, *shape of a value).

    All processes must call it, with anything that numpy converts to an array. Types are
    kept, 64-bit ones as well: `jax.experimental.multihost_utils.process_allgather`
    converts them to 32 bits, and silently to wrong numbers if they do not fit. The
    first dimension exists even with one process (unlike there: jax-ml/jax#25783).

    Raises KitError in all processes if shapes or types differ, and UsageError for a
    global array and for Python objects.
    """
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        raise UsageError(
            "all_gather_local() got an array of all processes; all_gather() gathers it"
        )
    values = np.asarray(value)
    if values.dtype.hasobject:
        raise UsageError(
            f"all_gather_local() got {type(value).__name__}, which numpy cannot convert"
            " to numbers; give an array"
        )
    own = {"type": str(values.dtype), "shape": str(values.shape)}
    problems = list(differences(*all_gather_facts(own)))
    if problems:
        raise KitError(
            f"all_gather_local(): {'; '.join(problems)}; every process must give one of"
            " the same shape and type"
        )
    rows = all_gather_bytes(_bytes(values))
    shape = (jax.process_count(), *values.shape)
    return np.frombuffer(rows.tobytes(), values.dtype).reshape(shape).copy()


def _check_global(array: jax.Array) -> None:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended):
        raise UsageError(
            f"cannot gather {array.dtype}; gather jax.random.key_data(keys), and"
            " convert it to keys by jax.random.wrap_key_data"
        )
    if jax.process_count() > 1 and array.is_fully_addressable:
        raise UsageError(
            f"this array of shape {array.shape} belongs to this process only;"
            " all_gather_local() gathers the arrays of all"
        )


def _gather(array: jax.Array, *, is_destination: bool) -> np.ndarray | None:
    if array.is_fully_replicated or array.is_fully_addressable:
        return np.asarray(array) if is_destination else None
    owner_of = index_ranges.owners(parts_of_processes(array))
    sizes = [0] * jax.process_count()
    for part, process in owner_of.items():
        sizes[process] += index_ranges.volume(part) * array.dtype.itemsize
    received = [bytearray() for _ in sizes]
    for rows in _gather_in_pieces(_owned_bytes(array, owner_of), max(sizes)):
        if is_destination:
            for buffer, row in zip(received, rows, strict=True):
                buffer += row.data
    return _assemble(array, owner_of, received) if is_destination else None


def _owned_bytes(array: jax.Array, owner_of: dict[IndexRange, int]) -> np.ndarray:
    """The bytes of the parts that this process sends, one after the other."""
    data = dict(local_shards(array))
    own = [part for part, process in owner_of.items() if process == jax.process_index()]
    parts = [_bytes(np.asarray(data[part])) for part in own]
    return np.concatenate([np.empty(0, np.uint8), *parts])


def _gather_in_pieces(own: np.ndarray, max_bytes: int) -> Iterator[np.ndarray]:
    """The bytes of all processes, piece by piece, padded to the longest process's."""
    step = max(_MAX_BYTES // jax.process_count(), 1)
    for begin in range(0, max_bytes, step):
        piece = np.zeros(min(step, max_bytes - begin), np.uint8)
        part = own[begin : begin + step]
        piece[: len(part)] = part
        yield all_gather_bytes(piece)


def _assemble(
    array: jax.Array, owner_of: dict[IndexRange, int], received: list[bytearray]
) -> np.ndarray:
    values = np.empty(array.shape, array.dtype)
    offsets = [0] * len(received)
    for part, process in owner_of.items():
        count = index_ranges.volume(part)
        flat = np.frombuffer(received[process], array.dtype, count, offsets[process])
        values[index_ranges.to_index(part)] = flat.reshape(index_ranges.extents(part))
        offsets[process] += count * array.dtype.itemsize
    return values


def _bytes(values: np.ndarray) -> np.ndarray:
    """The memory of an array, as uint8 of shape (bytes,)."""
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


def all_gather_bytes(own: np.ndarray) -> np.ndarray:
    """Return the bytes of all processes, as uint8 of shape (processes, bytes).

    All processes must call it, each with uint8 of the same shape (bytes,). Bytes,
    because JAX would convert 64-bit numbers to 32 bits, silently to wrong ones if they
    do not fit.
    """
    if jax.process_count() == 1:
        return own[np.newaxis]
    split, replicated = _row_shardings()
    piece = jax.device_put(own[np.newaxis], split.mesh.local_mesh.devices.item())
    rows = jax.make_array_from_single_device_arrays(
        (jax.process_count(), len(own)), split, [piece]
    )
    return np.asarray(_identity(replicated)(rows).addressable_data(0))


@functools.cache
def _row_shardings() -> tuple[NamedSharding, NamedSharding]:
    """For one row per process, on one device of each: split, and replicated."""
    first: dict[int, jax.Device] = {}
    for device in jax.devices():
        first.setdefault(device.process_index, device)
    mesh = Mesh(np.array([first[process] for process in sorted(first)]), ("process",))
    return NamedSharding(mesh, P("process", None)), NamedSharding(mesh, P())


@functools.cache
def _identity(sharding: NamedSharding) -> jax.stages.Wrapped:
    """Cached, so that it is compiled once for each length, not at each call."""
    return jax.jit(lambda rows: rows, out_shardings=sharding)


def all_gather_text(text: str) -> list[str]:
    """Return the texts of all processes, by rank; all must call it, with any text."""
    own = np.frombuffer(text.encode(), np.uint8)
    lengths = all_gather_bytes(np.array([len(own)], np.int64).view(np.uint8))
    counts = np.ascontiguousarray(lengths).view(np.int64).ravel()
    padded = np.zeros(max(int(counts.max()), 1), np.uint8)
    padded[: len(own)] = own
    return [
        row[:count].tobytes().decode()
        for row, count in zip(all_gather_bytes(padded), counts, strict=True)
    ]


def all_gather_facts(
    facts: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the facts of all processes, and the names of their nodes, by rank.

    All processes must call it, with anything that JSON can hold.
    """
    texts = all_gather_text(json.dumps([facts, _own_node()]))
    facts_of, nodes = zip(*map(json.loads, texts), strict=True)
    return list(facts_of), list(nodes)


def raise_on_all(problem: str) -> None:
    """Raise KitError in all processes if one has a problem; the message names its rank.

    All processes must call it; an empty text is no problem. Otherwise the others would
    wait for a process that has raised alone.
    """
    problems, nodes = all_gather_facts({"problem": problem})
    message = format_problems([own["problem"] for own in problems], nodes)
    if message:
        raise KitError(message)


def _own_node() -> str:
    """The name of this process's node, from its launcher."""
    return os.environ.get(NODE_NAME) or socket.gethostname().partition(".")[0]
