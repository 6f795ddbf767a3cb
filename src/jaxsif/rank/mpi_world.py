"""Check that MPI, if JAX uses it between CPUs, has all ranks in one world."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxsif.core.errors import Problem
from jaxsif.core.text import plural
from jaxsif.node.mpi import COLLECTIVES_VARIABLE, WRAPPER_VARIABLE

# What MPIwrapper exports (ABI 2.9); a handle is a pointer.
_WORLD, _SIZE = "MPIABI_COMM_WORLD", "MPIABI_Comm_size"


def call_after_start_of_mpi(then: Callable[[], object]) -> None:
    """Call `then` as soon as JAX has started its CPU back end with MPI.

    The program decides when: it may still choose its devices.
    """
    # There is no public way (JAX 0.12).
    from jax._src import config, xla_bridge

    registration = xla_bridge._backend_factories["cpu"]
    start = registration.factory

    def start_and_call() -> Any:
        client = start()
        if config.cpu_collectives_implementation.value == "mpi":
            then()
        return client

    registration.factory = start_and_call


def world_troubles(
    environment: Mapping[str, str], processes: int, *, computes_on_cpu: bool
) -> Iterator[Problem]:
    """If launcher and MPI do not match, each rank gets its own world of size 1."""
    try:
        size = _world_size(environment[WRAPPER_VARIABLE])
    except (OSError, KeyError, ValueError, AttributeError) as error:
        yield unknown_world(processes, error)
        return
    if size != processes:
        yield Problem(
            "mpi-world",
            f"{COLLECTIVES_VARIABLE}=mpi, but MPI's world has"
            f" {plural(size, 'process', 'es')} and the group {processes}: this MPI does"
            " not support the launcher, and sums are wrong",
            "start the ranks with the PMI that the MPI was built for (srun --mpi=list shows"
            " which exist), or with its own mpirun; or unset"
            f" {COLLECTIVES_VARIABLE}: gloo needs nothing",
            is_fatal=computes_on_cpu,
        )


def unknown_world(processes: int, error: Exception) -> Problem:
    """The problem if the size of MPI's world cannot be read."""
    return Problem(
        "mpi-world",
        f"{COLLECTIVES_VARIABLE}=mpi, but it is unknown whether MPI has all {processes}"
        f" processes ({error!r})",
        f"check a sum of ones, or unset {COLLECTIVES_VARIABLE}: gloo needs nothing",
        is_fatal=False,
    )


def _world_size(wrapper: str) -> int:
    # The copy that jaxlib has loaded; do not load another.
    library = ctypes.CDLL(wrapper, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    world = ctypes.c_void_p.in_dll(library, _WORLD)
    size = ctypes.c_int()
    error = getattr(library, _SIZE)(world, ctypes.byref(size))
    if error:
        raise OSError(f"MPI_Comm_size fails with {error}")
    return size.value
