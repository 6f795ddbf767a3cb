"""Arrays over all processes: three ways to make one, a matrix product, printing, saving, loading; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import time
from pathlib import Path

from jaxsif import initialize_distributed

info = initialize_distributed()

import jax  # noqa: E402  (after initialize_distributed, as docs/start.md says)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

from jaxsif import arrays  # noqa: E402

# A mesh gives names to the devices of all processes; this one has a single axis. P(AXIS)
# says: cut the first dimension into as many pieces as that axis has devices.
AXIS = "device"
mesh = arrays.device_mesh(**{AXIS: -1})
by_rows, by_columns = NamedSharding(mesh, P(AXIS)), NamedSharding(mesh, P(None, AXIS))


def main() -> None:
    """Every process runs all of it, in this order."""
    options = read_options()
    shape = (options.rows * jax.device_count(), options.columns)
    say(
        f"{shape[0]} x {shape[1]} over {jax.device_count()} devices"
        f" of {info.num_processes} processes"
    )
    whole = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    array = make_in_three_ways(whole)
    look_at(array)
    product = multiply(array, whole)
    save_and_load(product, options.folder)
    if options.checkpoint:
        save_and_load_many({"array": array, "product": product}, options.folder)


# ---- Making an array that lies on all devices.


def make_in_three_ways(whole: np.ndarray) -> jax.Array:
    first = from_the_whole(whole)
    others = from_own_rows(rows_of_this_process(whole)), from_pieces(whole)
    # Comparing is a computation of all processes; the answer is one number, and each
    # has it.
    for other in others:
        assert bool(jnp.array_equal(first, other))
    say("the three ways make the same array")
    return first


def from_the_whole(whole: np.ndarray) -> jax.Array:
    """Way 1: every process has the whole array, and keeps its part. Simple, and good
    while the whole fits into one process."""
    return jax.device_put(whole, by_rows)


def from_own_rows(own: np.ndarray) -> jax.Array:
    """Way 2: every process has its own rows only, as when each reads its own files.

    JAX's own function for it is make_array_from_process_local_data; this one looks first
    whether the processes have brought what fits together.
    """
    return arrays.global_array(own, by_rows)


def from_pieces(whole: np.ndarray) -> jax.Array:
    """Way 3: every device has its own piece, put there one by one: full control."""
    places = by_rows.addressable_devices_indices_map(whole.shape)
    pieces = [jax.device_put(whole[place], device) for device, place in places.items()]
    return jax.make_array_from_single_device_arrays(whole.shape, by_rows, pieces)


def rows_of_this_process(whole: np.ndarray) -> np.ndarray:
    """Stands for what your program would read from a file."""
    return np.split(whole, info.num_processes)[info.process_id]


# ---- Looking at it, and computing with it.


def look_at(array: jax.Array) -> None:
    """A process has its own part of an array alone, and print(array) raises an
    exception. `describe` is safe, also where one process does it alone."""
    say(arrays.describe(array, "array"))


def multiply(array: jax.Array, whole: np.ndarray) -> jax.Array:
    """The array times its transpose, each spread in its own way. JAX moves what has to be
    moved, and the result lies as we ask."""
    transposed = jax.device_put(whole.T, by_columns)
    product = jax.jit(jnp.matmul, out_shardings=by_rows)(array, transposed)
    say(arrays.describe(product, "product", most_values=8))

    # To look at all of it, gather it. This is communication: all processes call it, and
    # only then one of them speaks.
    gathered = arrays.all_gather(product)
    np.testing.assert_allclose(gathered, whole @ whole.T, rtol=1e-5)
    say(f"the product is that of one process; its trace is {np.trace(gathered):g}")
    return product


def say(text: str) -> None:
    """One process speaks for all. Only what needs no other process may stand here."""
    if info.process_id == 0:
        print(text, flush=True)


# ---- Saving and loading.


def save_and_load(product: jax.Array, folder: Path) -> None:
    """One plain file that numpy reads anywhere; and back, spread in another way."""
    if info.process_id == 0:
        folder.mkdir(parents=True, exist_ok=True)
    file = folder / "product.npy"
    arrays.save_npy(file, product)
    loaded = arrays.load_npy(file, by_columns)
    assert np.array_equal(arrays.all_gather(loaded), arrays.all_gather(product))
    say(f"saved to {file}, and loaded by columns")


def save_and_load_many(named: dict[str, jax.Array], folder: Path) -> None:
    """A checkpoint: many arrays, large ones, every process writing its own part. It can
    be loaded on any number of processes."""
    # `save` overwrites nothing, so its folder is named by the time. All processes need
    # the same name, and their clocks differ: that of the first one counts.
    moment_s = int(arrays.all_gather_local(time.time())[0])
    checkpoint = folder / f"checkpoint-{moment_s}"
    arrays.save(checkpoint, {**named, "step": 7})
    loaded = arrays.load(checkpoint)
    assert loaded["step"] == 7
    for name, array in named.items():
        assert bool(jnp.array_equal(loaded[name], array))
    say(f"saved to {checkpoint}/, and loaded")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rows", type=int, default=2, help="of each device")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path("arrays-example"))
    parser.add_argument("--checkpoint", action="store_true", help="needs orbax")
    return parser.parse_args()


if __name__ == "__main__":
    main()
