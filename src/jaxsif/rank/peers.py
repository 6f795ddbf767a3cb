"""Verify peers by JAX's key-value store and MPI's world; compare positions."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxsif.core import image
from jaxsif.core.errors import Problem
from jaxsif.core.records import RanksAtPosition
from jaxsif.core.slurm_env import Identity
from jaxsif.core.text import MAX_NAMED, format_ranks, format_ranks_and_nodes, plural
from jaxsif.node.mpi import COLLECTIVES_VARIABLE, WRAPPER_VARIABLE

# Each rank writes one key and reads one; only rank 0 reads all keys. Traffic is linear
# in the number of ranks.
_INFO_PREFIX = "jaxsif/card/"
_REPLY_KEY = "jaxsif/word"
_POSITION_PREFIX = "jaxsif/place/"

# Counted from the moment JAX has connected all ranks.
_PEER_INFO_TIMEOUT_S = 10.0

PeerInfo = dict[str, Any]

# What MPIwrapper exports (ABI 2.9); a handle is a pointer.
_WORLD, _SIZE = "MPIABI_COMM_WORLD", "MPIABI_Comm_size"


def peer_info(identity: Identity) -> PeerInfo:
    """This rank's identity and software, for comparison by rank 0."""
    import jax
    import jaxlib

    return {
        "step": identity.step,
        "rank": identity.rank,
        "node": identity.node,
        "program": program_fingerprint(),
        "image": image.fingerprint(),
        "packages": image.fingerprint(image.PACKAGES_DESCRIPTION),
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
    }


def program_fingerprint() -> str | None:
    """Name and checksum of the program, as `train.py 1a2b3c4d`; None without one."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    # Reading /dev/stdin, or another pipe, would consume the program's input.
    if not isinstance(path, str) or not os.path.isfile(path):
        return None
    try:
        return f"{Path(path).name} {zlib.crc32(Path(path).read_bytes()):08x}"
    except OSError:
        return None


def exchange_peer_info(client: Any, identity: Identity) -> list[Problem]:
    """Exchange peer information and return the problems.

    They are for rank 0 to report, or for a rank in a foreign group.

    Args:
      client: JAX's client of the coordinator (`jax._src.distributed.global_state`, the
        only access to its key-value store; there is no public one).
    """
    own = peer_info(identity)
    client.key_value_set(f"{_INFO_PREFIX}{identity.rank}", json.dumps(own), True)
    if identity.rank:
        limit_ms = int(_PEER_INFO_TIMEOUT_S * 2000)
        return _wait_for_reply(client, identity, limit_ms)
    infos = _all_peer_info(client, identity.processes)
    problems = list(compare_peer_info(infos, own, identity.processes))
    reply = {"step": identity.step, "node": identity.node, "is_well": not problems}
    client.key_value_set(_REPLY_KEY, json.dumps(reply), True)
    return problems


def _wait_for_reply(client: Any, identity: Identity, limit_ms: int) -> list[Problem]:
    reply = json.loads(client.blocking_key_value_get(_REPLY_KEY, limit_ms))
    if reply["step"] != identity.step:
        return [
            Problem(
                "foreign-group",
                f"the coordinator is that of step {reply['step']} on {reply['node']},"
                f" this is step {identity.step}",
                "two steps share a coordinator's address: let the image set"
                " JAX_COORDINATOR_PORT, and leave JAX_SIF_MTLS on",
            )
        ]
    if not reply["is_well"]:
        # Rank 0 reports the cause and ends the step.
        time.sleep(_PEER_INFO_TIMEOUT_S)
    return []


def _all_peer_info(client: Any, processes: int) -> dict[int, PeerInfo]:
    deadline_s, pause_s = time.monotonic() + _PEER_INFO_TIMEOUT_S, 0.005
    while True:
        pairs = client.key_value_dir_get(_INFO_PREFIX)
        if len(pairs) >= processes or time.monotonic() > deadline_s:
            return {
                int(key.rpartition("/")[2]): json.loads(text) for key, text in pairs
            }
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.5)


def compare_peer_info(
    infos: Mapping[int, PeerInfo], own: PeerInfo, processes: int
) -> Iterator[Problem]:
    """Find the problems of a group, as seen by rank 0."""
    foreign = [c for c in infos.values() if c["step"] != own["step"]]
    if foreign:
        steps = ", ".join(sorted({str(c["step"]) for c in foreign}))
        yield Problem(
            "foreign-peer",
            f"{_named(foreign)} of the group belong to step {steps}, not to this step"
            f" {own['step']}",
            "two steps share a coordinator's address: let the image set"
            " JAX_COORDINATOR_PORT, and leave JAX_SIF_MTLS on",
            ranks=tuple(c["rank"] for c in foreign),
        )
        return
    silent = [rank for rank in range(processes) if rank not in infos]
    if silent:
        yield Problem(
            "foreign-peer",
            f"{format_ranks(silent)} of the group did not identify themselves",
            "start every rank of the step with the same program and image",
            ranks=tuple(silent),
        )
        return
    for name, noun, remedy in (
        ("program", "program", "start one program in all ranks of a step"),
        ("image", "image", "give every node the same image file"),
        ("packages", "file of packages", "give every rank the same JAX_SIF_PACKAGES"),
        ("jax", "JAX", "give every node the same image; unset PYTHONPATH"),
        ("jaxlib", "jaxlib", "give every node the same image; unset PYTHONPATH"),
    ):
        yield from _minority(infos, name, noun, remedy)


def _minority(
    infos: Mapping[int, PeerInfo], name: str, noun: str, remedy: str
) -> Iterator[Problem]:
    # A rank of an older image may lack a field.
    counts = Counter(c.get(name) for c in infos.values())
    usual, _ = counts.most_common(1)[0]
    by_value: dict[Any, list[PeerInfo]] = defaultdict(list)
    for c in infos.values():
        if c.get(name) != usual:
            by_value[c.get(name)].append(c)
    for value, minority in by_value.items():
        yield Problem(
            f"{name}-differs",
            f"different {noun} on {_named(minority)}: {value}; the others have {usual}",
            remedy,
            # A user may run a different program on one rank on purpose.
            is_fatal=name != "program",
            ranks=tuple(c["rank"] for c in minority),
        )


def _named(infos: list[PeerInfo]) -> str:
    return format_ranks_and_nodes((info["rank"], info["node"]) for info in infos)


def publish_position(client: Any, rank: int, position: str) -> None:
    """Publish the position at which this rank waits."""
    client.key_value_set(f"{_POSITION_PREFIX}{rank}", position, True)


def compare_positions(client: Any, own: str) -> list[RanksAtPosition] | None:
    """The positions at which ranks wait, each with some ranks; None if only one."""
    ranks_by_position: dict[str, list[int]] = defaultdict(list)
    for key, position in client.key_value_dir_get(_POSITION_PREFIX):
        ranks_by_position[position].append(int(key.rpartition("/")[2]))
    if len({own, *ranks_by_position}) < 2:
        return None
    return [
        RanksAtPosition(len(ranks), position, sorted(ranks)[:MAX_NAMED])
        for position, ranks in ranks_by_position.items()
    ]


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
            "start the ranks with the PMI that the MPI was built for (srun --mpi=list"
            " shows which exist), or with its own mpirun; or unset"
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
