"""One process with several GPUs: which ones it sees, and one batch over all of them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os

from jaxsif import initialize_distributed

initialize_distributed()

import jax  # noqa: E402  (after initialize_distributed, see docs/start.md)
import jax.numpy as jnp  # noqa: E402  (as above)
import numpy as np  # noqa: E402  (as above)
from jax.sharding import Mesh, NamedSharding  # noqa: E402  (as above)
from jax.sharding import PartitionSpec as P  # noqa: E402  (as above)

parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
parser.add_argument("--devices", type=int, help="number of devices; by default all")
parser.add_argument("--samples", type=int, default=4096)
parser.add_argument("--features", type=int, default=16)
parser.add_argument("--steps", type=int, default=200)
options = parser.parse_args()

# CUDA_VISIBLE_DEVICES is read once, when JAX first looks for devices: it must be set
# before that. JAX counts the visible devices from 0.
visible = os.environ.get("CUDA_VISIBLE_DEVICES")
print(f"CUDA_VISIBLE_DEVICES: {visible or 'not set'}")
print(f"JAX sees {jax.local_device_count()}: {jax.local_devices()}")

devices = jax.local_devices()[: options.devices]
if options.samples % len(devices):
    raise SystemExit(
        f"--samples {options.samples} does not divide over {len(devices)} devices;"
        f" use --samples {options.samples // len(devices) * len(devices)}"
    )

# Data with a known answer: samples of a linear law with a little noise.
random = np.random.default_rng(0)
truth = random.normal(size=options.features).astype(np.float32)
inputs = random.normal(size=(options.samples, options.features)).astype(np.float32)
noise = random.normal(size=options.samples).astype(np.float32)
targets = inputs @ truth + 0.01 * noise


@jax.jit
def step(weights, inputs, targets):
    """One step of gradient descent. Nothing in it depends on devices."""
    loss, gradient = jax.value_and_grad(
        lambda w: jnp.mean((inputs @ w - targets) ** 2) / 2
    )(weights)
    return weights - 0.5 * gradient, loss


def fit(devices):
    """The batch is split over the devices, the weights are on each of them; JAX sums
    the gradient over the devices."""
    mesh = Mesh(np.array(devices), ("batch",))
    by_rows, everywhere = NamedSharding(mesh, P("batch")), NamedSharding(mesh, P())
    weights = jax.device_put(np.zeros(options.features, np.float32), everywhere)
    x, y = jax.device_put(inputs, by_rows), jax.device_put(targets, by_rows)
    for _ in range(options.steps):
        weights, loss = step(weights, x, y)
    return np.asarray(weights), float(loss), x.sharding.shard_shape(x.shape)


weights, loss, piece = fit(devices)
print(f"each of {len(devices)} devices has {piece[0]} of {options.samples} samples")
print(f"after {options.steps} steps: loss {loss:.2e}")
difference = np.abs(weights - fit(devices[:1])[0]).max()
print(f"largest difference from one device: {difference:.1e}")
error = np.abs(weights - truth).max()
print(f"largest error of a weight: {error:.1e}")
if not (difference < 1e-5 and error < 1e-2):
    raise SystemExit(
        "multi_gpu.py: the weights differ from those that the data were made with"
    )
