"""A global array in one plain .npy file, written by one process and read by all."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from jax.sharding import Sharding

from jaxsif.arrays.exchange import raise_on_all
from jaxsif.arrays.gathering import gather
from jaxsif.arrays.layout import by_rows
from jaxsif.core.atomic_write import write_file
from jaxsif.core.errors import UsageError


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
