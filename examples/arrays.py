"""Arrays over all processes: three ways to make one, a matrix product, printing, saving, loading; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from pathlib import Path

from jaxsif import initialize_distributed

info = initialize_distributed()

import jax  # noqa: E402  (after initialize_distributed, as docs/start.md says)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

from jaxsif import arrays  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
parser.add_argument("--rows", type=int, default=2, help="of each device")
parser.add_argument("--columns", type=int, default=4)
parser.add_argument("--folder", type=Path, default=Path("arrays-example"))
parser.add_argument("--checkpoint", action="store_true", help="needs orbax-checkpoint")
options = parser.parse_args()


def say(text: str) -> None:
    """One process speaks for all. Only what needs no other process may stand here."""
    if jax.process_index() == 0:
        print(text, flush=True)


# A mesh gives names to the devices of all processes; this one has a single axis. P(AXIS)
# says: cut the first dimension into as many pieces as that axis has devices.
AXIS = "device"
mesh = arrays.device_mesh(device=-1)
by_rows = NamedSharding(mesh, P(AXIS))
shape = (options.rows * jax.device_count(), options.columns)
say(
    f"{shape[0]} x {shape[1]} over {jax.device_count()} devices"
    f" of {info.num_processes} processes"
)

# Way 1: every process has the whole array, and keeps its part. Simple, and good while
# the whole fits into one process.
whole = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
first = jax.device_put(whole, by_rows)

# Way 2: every process has its own rows only, as when each reads its own files.
# arrays.global_array(rows, by_rows) does the same, and looks first whether the
# processes have brought what fits together.
rows = options.rows * jax.local_device_count()
start = jax.process_index() * rows
own = whole[start : start + rows]
second = jax.make_array_from_process_local_data(by_rows, own, shape)
checked = arrays.global_array(own, by_rows)

# Way 3: every device has its own piece, put there one by one: full control.
pieces = []
for device in mesh.local_devices:
    place = by_rows.devices_indices_map(shape)[device]
    pieces.append(jax.device_put(whole[place], device))
third = jax.make_array_from_single_device_arrays(shape, by_rows, pieces)

# Comparing is a computation of all processes; the answer is one number, and each has it.
for other in (second, checked, third):
    assert bool(jnp.array_equal(first, other))
say("the three ways make the same array")

# A process sees its own part of an array, and print(array) raises an exception. This is
# safe, also where one process does it alone:
say(arrays.describe(first, "first"))
assert np.array_equal(arrays.local_part(first), own)

# A product of matrices, each spread in its own way. JAX moves what has to be moved.
columns = jax.device_put(whole.T, NamedSharding(mesh, P(None, AXIS)))
product = jax.jit(jnp.matmul, out_shardings=by_rows)(first, columns)
say(arrays.describe(product, "product", most_values=8))
# To look at all of it, gather it. This is communication: all processes call it, and only
# then one of them speaks.
gathered = arrays.all_gather(product)
np.testing.assert_allclose(gathered, whole @ whole.T, rtol=1e-5)
say(f"the product is that of one process; its trace is {np.trace(gathered):g}")

# One plain file that numpy reads anywhere; and back, spread in another way.
if jax.process_index() == 0:
    options.folder.mkdir(parents=True, exist_ok=True)
arrays.save_npy(options.folder / "product.npy", product)
other_way = NamedSharding(mesh, P(None, AXIS))
again = arrays.load_npy(options.folder / "product.npy", other_way)
assert np.array_equal(arrays.all_gather(again), gathered)
say(f"saved to {options.folder}/product.npy, and loaded by columns")

# Many arrays, large ones, every process writing its own part: a checkpoint. It can be
# loaded on any number of processes.
if options.checkpoint:
    step = options.folder / f"step-{info.num_processes}"
    arrays.save(step, {"first": first, "product": product, "step": 7})
    loaded = arrays.load(step)
    assert loaded["step"] == 7 and bool(jnp.array_equal(loaded["product"], product))
    say(f"saved to {step}/, and loaded")
