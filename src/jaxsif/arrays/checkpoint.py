"""Save and load global arrays: checkpoints by orbax, and plain .npy files."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from jaxsif.arrays.gathering import gather, raise_on_all
from jaxsif.arrays.layout import by_rows, device_mesh
from jaxsif.core.atomic_write import write_file
from jaxsif.core.errors import UsageError


def save(path: str | Path, tree: Any) -> None:
    """Writes a tree of arrays and numbers into a new folder; each process its own part.

    All processes have to call it, with a folder that all of them see. The folder is
    there whole or not at all. Global arrays are spread as they are; numpy arrays and
    numbers have to be the same in all processes, and rank 0 writes them.

    Raises KitError in all processes when the folder is there already or some do not see
    it afterwards, and UsageError without orbax or for an array of one process alone.
    """
    ocp = _orbax("save")
    folder = Path(path).absolute()
    _check_global(tree)
    there = f"{str(folder)!r} is there already; give each step a folder of its own"
    raise_on_all(there if folder.exists() else "")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, tree)
        checkpointer.wait_until_finished()
    unseen = f"does not see {str(folder)!r}; choose a folder that all nodes share"
    raise_on_all("" if folder.exists() else unseen)


def load(path: str | Path, *, mesh: Mesh | None = None, like: Any = None) -> Any:
    """Reads what `save` wrote, on any number of processes and devices.

    All processes have to call it; each reads only its own part.

    Args:
      mesh: the devices to spread the arrays over, by the axes by which they were spread
        when they were saved. By default all devices, where there was one axis.
      like: a tree of arrays, or of `jax.ShapeDtypeStruct` with shardings, whose structure
        and shardings the result has; without it tuples come back as lists, and classes
        as dicts.

    Raises KitError in all processes when one does not see the folder, and UsageError
    without orbax, and when axes or lengths do not fit the mesh.
    """
    ocp = _orbax("load")
    folder = Path(path).absolute()
    unseen = f"there is no folder {str(folder)!r}; give one that save() has written"
    raise_on_all("" if folder.is_dir() else unseen)
    with ocp.StandardCheckpointer() as checkpointer:
        if like is not None:
            return checkpointer.restore(folder, jax.tree.map(_abstract, like))
        saved = checkpointer.metadata(folder).item_metadata.tree
        target = mesh or _one_axis(saved)
        return checkpointer.restore(
            folder, jax.tree.map(lambda leaf: _laid_out(leaf, target), saved)
        )


def _orbax(verb: str) -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise UsageError(
            f"{verb}() needs orbax-checkpoint, which is not here ({error}); put it on top"
            " of the image: jax-sif env create my.sqsh orbax-checkpoint; or use"
            f" {verb}_npy(), which needs nothing"
        ) from error
    return ocp


def _check_global(tree: Any) -> None:
    """An array of one process alone is another in each, and one would be lost."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not isinstance(leaf, jax.Array) or jax.process_count() == 1:
            continue
        if leaf.is_fully_addressable:
            raise UsageError(
                f"save(): the array at {jax.tree_util.keystr(path)} of shape {leaf.shape}"
                " is this process's own alone; make it global (global_array), or numpy's"
                " (np.asarray) if it is the same in all"
            )


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return leaf


def _shardings(saved: Any) -> Iterator[Any]:
    for leaf in jax.tree.leaves(saved):
        sharding = getattr(leaf, "sharding", None)
        if hasattr(sharding, "partition_spec"):
            yield sharding


def _one_axis(saved: Any) -> Mesh:
    """All devices on the axis that the arrays were spread over. Raises UsageError when
    there were several."""
    shapes = {
        tuple(zip(s.axis_names, map(int, s.shape), strict=True))
        for s in _shardings(saved)
    }
    axes = {name for shape in shapes for name, _ in shape}
    if len(axes) > 1:
        meshes = " and ".join(str(dict(shape)) for shape in sorted(shapes))
        raise UsageError(
            f"load(): the arrays were spread over a mesh of {meshes}; give the mesh to"
            " use now: load(path, mesh=device_mesh(...))"
        )
    return device_mesh(**dict.fromkeys(axes, -1))


def _laid_out(leaf: Any, mesh: Mesh) -> Any:
    """What orbax shall read for a leaf: a global array on the mesh, or as it was."""
    if not hasattr(leaf.sharding, "partition_spec"):
        # orbax distinguishes numbers from 0-dimensional arrays by their Python type.
        is_number = type(leaf).__name__ == "ScalarMetadata"
        return (
            leaf.dtype.type(0).item() if is_number else np.empty(leaf.shape, leaf.dtype)
        )
    spec = P(*leaf.sharding.partition_spec)
    try:
        sharding = NamedSharding(mesh, spec)
        sharding.shard_shape(leaf.shape)
    except ValueError as error:
        raise UsageError(
            f"load(): {leaf.name}, of shape {leaf.shape} and spread by {spec}, does not"
            f" fit the mesh {dict(mesh.shape)}: {error}; give another mesh, or like="
        ) from error
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def save_npy(path: str | Path, array: jax.Array, *, by: int = 0) -> None:
    """Writes a whole global array into one file that numpy reads anywhere.

    All processes have to call it; the process `by` gathers and writes. The file is there
    whole or not at all, and a file of that name stays until then. The other processes
    return when it is there.

    Raises KitError in all processes when it cannot be written, and UsageError for types
    that the format does not know, as bfloat16.
    """
    target = _npy(path)
    if np.dtype(array.dtype).kind == "V":
        raise UsageError(
            f"a .npy file does not keep the type {array.dtype}; save"
            " array.astype('float32'), or save() the array"
        )
    values = gather(array, to=by)
    problem = ""
    if values is not None:
        try:
            write_file(target, lambda file: np.save(file, values))
        except OSError as error:
            # numpy counts elements where the system would say that there is no room.
            reason = error.strerror or f"is the disk full? ({error})"
            problem = f"cannot write {str(target)!r}: {reason}"
    raise_on_all(problem)


def load_npy(path: str | Path, sharding: Sharding | None = None) -> jax.Array:
    """Reads a .npy file as a global array; each process reads only its own part.

    Args:
      sharding: how it is spread, by default its rows over all devices. It need not be
        the one with which the array was saved.

    Raises KitError in all processes when one of them cannot read the file or it does not
    divide so.
    """
    source = _npy(path)
    sharding = sharding or by_rows()
    problem, values = "", np.empty(0)
    try:
        values = np.load(source, mmap_mode="r")
        sharding.shard_shape(values.shape)
    except OSError as error:
        problem = f"cannot read {str(source)!r}: {error.strerror or error}"
    except ValueError as error:
        problem = f"cannot lay out {str(source)!r}: {error}"
    raise_on_all(problem)
    return jax.make_array_from_callback(
        values.shape, sharding, lambda index: np.ascontiguousarray(values[index])
    )


def _npy(path: str | Path) -> Path:
    """Absolute, because processes may stand in different folders."""
    if Path(path).suffix != ".npy":
        raise UsageError(f"the file is {str(path)!r}; give it a name that ends in .npy")
    return Path(path).absolute()
