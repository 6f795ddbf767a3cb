"""Save and load global arrays: checkpoints by orbax, and plain .npy files."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from jaxsif.arrays.gathering import gather, raise_on_all
from jaxsif.arrays.layout import device_mesh, row_sharding
from jaxsif.core.atomic_write import write_file
from jaxsif.core.errors import UsageError


def save(path: str | Path, tree: Any) -> None:
    """Write a tree of arrays and numbers into a new directory, each process its part.

    All processes must call it, with a directory that all of them share. It is written
    completely or not at all. Global arrays keep their sharding; numpy arrays and
    numbers must be the same in all processes, and rank 0 writes them.

    Raises KitError in all processes if the directory exists already or some do not see
    it afterwards, and UsageError without orbax or for an array of one process only.
    """
    ocp = _orbax("save")
    directory = Path(path).absolute()
    _check_global(tree)
    exists = f"{str(directory)!r} exists already; use a new directory for each step"
    raise_on_all(exists if directory.exists() else "")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory, tree)
        checkpointer.wait_until_finished()
    unseen = f"does not see {str(directory)!r}; choose a directory that all nodes share"
    raise_on_all("" if directory.exists() else unseen)


def load(path: str | Path, *, mesh: Mesh | None = None, like: Any = None) -> Any:
    """Read what `save` wrote, on any number of processes and devices.

    All processes must call it; each reads only its own part.

    Args:
      mesh: the devices to split the arrays over, by the names of the axes by which they
        were split when they were saved. Default: all devices, if there was one axis.
      like: a tree of arrays, or of `jax.ShapeDtypeStruct` with shardings, whose
        structure and shardings the result has; without it, tuples become lists, and
        classes dicts.

    Raises KitError in all processes if one does not see the directory, and UsageError
    without orbax, or if axes or lengths do not fit the mesh.
    """
    ocp = _orbax("load")
    directory = Path(path).absolute()
    unseen = (
        f"there is no directory {str(directory)!r}; give one that save() has written"
    )
    raise_on_all("" if directory.is_dir() else unseen)
    with ocp.StandardCheckpointer() as checkpointer:
        if like is not None:
            return checkpointer.restore(directory, jax.tree.map(_abstract, like))
        saved = checkpointer.metadata(directory).item_metadata.tree
        target = mesh or _one_axis_mesh(saved)
        return checkpointer.restore(
            directory, jax.tree.map(lambda leaf: _restore_target(leaf, target), saved)
        )


def _orbax(verb: str) -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise UsageError(
            f"{verb}() needs orbax-checkpoint, which is not here ({error}); put it on"
            " top of the image: jax-sif packages create my.sqsh orbax-checkpoint; or"
            f" use {verb}_npy(), which needs nothing"
        ) from error
    return ocp


def _check_global(tree: Any) -> None:
    """A local array may differ between processes; only one of them would be saved."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not isinstance(leaf, jax.Array) or jax.process_count() == 1:
            continue
        if leaf.is_fully_addressable:
            raise UsageError(
                f"save(): the array at {jax.tree_util.keystr(path)} of shape"
                f" {leaf.shape} belongs to this process only; make it global"
                " (global_array), or convert it to numpy (np.asarray) if it is the same"
                " in all"
            )


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return leaf


def _one_axis_mesh(saved: Any) -> Mesh:
    """All devices on the axis that the arrays were split over.

    Raises UsageError if there were several axes.
    """
    shapes = set()
    for leaf in jax.tree.leaves(saved):
        sharding = getattr(leaf, "sharding", None)
        if sharding is not None and hasattr(sharding, "partition_spec"):
            lengths = map(int, sharding.shape)
            shapes.add(tuple(zip(sharding.axis_names, lengths, strict=True)))
    axes = {name for shape in shapes for name, _ in shape}
    if len(axes) > 1:
        meshes = " and ".join(str(dict(shape)) for shape in sorted(shapes))
        raise UsageError(
            f"load(): the arrays were split over a mesh of {meshes}; give the mesh to"
            " use now: load(path, mesh=device_mesh(...))"
        )
    return device_mesh(**dict.fromkeys(axes, -1))


def _restore_target(leaf: Any, mesh: Mesh) -> Any:
    """What orbax reads for a leaf: a global array on the mesh, or as it was saved."""
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
            f"load(): {leaf.name}, of shape {leaf.shape} and split by {spec}, does not"
            f" fit the mesh {dict(mesh.shape)}: {error}; give another mesh, or like="
        ) from error
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def save_npy(path: str | Path, array: jax.Array, *, by: int = 0) -> None:
    """Write a global array into one file that numpy can read anywhere.

    All processes must call it; the process `by` gathers and writes. The file is
    replaced atomically. The other processes return when it is complete.

    Raises KitError in all processes if it cannot be written, and UsageError for types
    that the format does not support, such as bfloat16.
    """
    target = _npy_path(path)
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
            # On a full disk numpy reports a number of elements instead.
            reason = error.strerror or f"is the disk full? ({error})"
            problem = f"cannot write {str(target)!r}: {reason}"
    raise_on_all(problem)


def load_npy(path: str | Path, sharding: Sharding | None = None) -> jax.Array:
    """Read a .npy file as a global array; each process reads only its own part.

    Args:
      sharding: of the array, which may differ from the one with which it was saved;
        default: its rows split over all devices.

    Raises KitError in all processes if one of them cannot read the file, or if it does
    not divide over the devices.
    """
    source = _npy_path(path)
    sharding = sharding or row_sharding()
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


def _npy_path(path: str | Path) -> Path:
    """Absolute, because processes may have different working directories."""
    if Path(path).suffix != ".npy":
        raise UsageError(f"the file is {str(path)!r}; give it a name that ends in .npy")
    return Path(path).absolute()
