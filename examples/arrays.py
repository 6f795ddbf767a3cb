"""Arrays over all processes: making, multiplying, printing, saving, loading."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import time
from pathlib import Path

from jaxsif import initialize_distributed

info = initialize_distributed()

import jax  # noqa: E402  (after initialize_distributed, see docs/start.md)
import jax.numpy as jnp  # noqa: E402  (as above)
import numpy as np  # noqa: E402  (as above)
from jax.sharding import NamedSharding  # noqa: E402  (as above)
from jax.sharding import PartitionSpec as P  # noqa: E402  (as above)

from jaxsif import arrays  # noqa: E402  (as above)

# A mesh arranges the devices of all processes along named axes; this one has a single
# axis. P(AXIS) splits the first dimension into one piece per device of that axis.
AXIS = "device"
mesh = arrays.device_mesh(**{AXIS: -1})
by_rows, by_columns = NamedSharding(mesh, P(AXIS)), NamedSharding(mesh, P(None, AXIS))


def main() -> None:
    """Every process runs all of this, in this order."""
    options = read_options()
    shape = (options.rows * jax.device_count(), options.columns)
    write(
        f"{shape[0]} x {shape[1]} over {jax.device_count()} devices"
        f" of {info.num_processes} processes"
    )
    whole = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    array = make_in_three_ways(whole)
    look_at(array)
    product = multiply(array, whole)
    save_and_load(product, options.output_dir)
    if options.checkpoint:
        save_and_load_many({"array": array, "product": product}, options.output_dir)


# ---- Making an array on all devices.


def make_in_three_ways(whole: np.ndarray) -> jax.Array:
    first = from_the_whole(whole)
    others = from_own_rows(rows_of_this_process(whole)), from_pieces(whole)
    # All processes compute the comparison; each has its result, a single number.
    for other in others:
        assert bool(jnp.array_equal(first, other))
    write("the three ways make the same array")
    return first


def from_the_whole(whole: np.ndarray) -> jax.Array:
    """Way 1: every process has the whole array, and keeps its part. Simple, and good
    while the whole fits into one process."""
    return jax.device_put(whole, by_rows)


def from_own_rows(own: np.ndarray) -> jax.Array:
    """Way 2: every process has its own rows only, as when each reads its own files.

    JAX's own function for it is make_array_from_process_local_data; this one first
    checks that the parts of the processes fit together.
    """
    return arrays.global_array(own, by_rows)


def from_pieces(whole: np.ndarray) -> jax.Array:
    """Way 3: every device has its own piece, put there one by one: full control."""
    indices = by_rows.addressable_devices_indices_map(whole.shape)
    pieces = [jax.device_put(whole[index], device) for device, index in indices.items()]
    return jax.make_array_from_single_device_arrays(whole.shape, by_rows, pieces)


def rows_of_this_process(whole: np.ndarray) -> np.ndarray:
    """Stands for what your program would read from a file."""
    return np.split(whole, info.num_processes)[info.process_id]


# ---- Printing it, and computing with it.


def look_at(array: jax.Array) -> None:
    """A process has only its own part of an array, and print(array) raises an
    exception. `describe` is safe, even in a single process."""
    write(arrays.describe(array, "array"))


def multiply(array: jax.Array, whole: np.ndarray) -> jax.Array:
    """The array times its transpose, with different shardings. JAX moves the
    data, and the result has the sharding that we request."""
    transposed = jax.device_put(whole.T, by_columns)
    product = jax.jit(jnp.matmul, out_shardings=by_rows)(array, transposed)
    write(arrays.describe(product, "product", max_values=8))

    # To print all of it, gather it. This is communication: all processes call it, and
    # then one of them prints.
    gathered = arrays.all_gather(product)
    np.testing.assert_allclose(gathered, whole @ whole.T, rtol=1e-5)
    write(f"the product is that of one process; its trace is {np.trace(gathered):g}")
    return product


def write(text: str) -> None:
    """Print in one process only. Do not call collectives here."""
    if info.process_id == 0:
        print(text, flush=True)


# ---- Saving and loading.


def save_and_load(product: jax.Array, folder: Path) -> None:
    """Save a plain file that numpy can read, and load it with another sharding."""
    if info.process_id == 0:
        folder.mkdir(parents=True, exist_ok=True)
    file = folder / "product.npy"
    arrays.save_npy(file, product)
    loaded = arrays.load_npy(file, by_columns)
    assert np.array_equal(arrays.all_gather(loaded), arrays.all_gather(product))
    write(f"saved to {file}, and loaded by columns")


def save_and_load_many(named: dict[str, jax.Array], folder: Path) -> None:
    """A checkpoint: several large arrays, each process writing its own part. It can
    be loaded on any number of processes."""
    # `save` does not overwrite, so its folder is named by the time. All processes need
    # the same name, and their clocks differ: the first process's time is used.
    moment_s = int(arrays.all_gather_local(time.time())[0])
    checkpoint = folder / f"checkpoint-{moment_s}"
    arrays.save(checkpoint, {**named, "step": 7})
    loaded = arrays.load(checkpoint)
    assert loaded["step"] == 7
    for name, array in named.items():
        assert bool(jnp.array_equal(loaded[name], array))
    write(f"saved to {checkpoint}/, and loaded")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rows", type=int, default=2, help="per device")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--output-dir", type=Path, default=Path("arrays-example"))
    parser.add_argument("--checkpoint", action="store_true", help="needs orbax")
    return parser.parse_args()


if __name__ == "__main__":
    main()
