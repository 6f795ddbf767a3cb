"""Arrays distributed over all processes: create, describe, gather, save, load."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsif.arrays.checkpoint import load, load_npy, save, save_npy
    from jaxsif.arrays.consistency import check_same_program
    from jaxsif.arrays.gathering import all_gather, all_gather_local, gather
    from jaxsif.arrays.global_arrays import global_array
    from jaxsif.arrays.layout import describe, device_mesh, local_index, local_part

__all__ = [
    "all_gather",
    "all_gather_local",
    "check_same_program",
    "describe",
    "device_mesh",
    "gather",
    "global_array",
    "load",
    "load_npy",
    "local_index",
    "local_part",
    "save",
    "save_npy",
]

_FILES = {
    "gathering": ("all_gather", "all_gather_local", "gather"),
    "global_arrays": ("global_array",),
    "layout": ("describe", "device_mesh", "local_index", "local_part"),
    "consistency": ("check_same_program",),
    "checkpoint": ("load", "load_npy", "save", "save_npy"),
}


def __getattr__(name: str) -> Any:
    """Import JAX at the first use of a name, after `initialize_distributed()`."""
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f"jaxsif.arrays.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
