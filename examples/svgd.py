"""Stein variational gradient descent with its particles on all processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from jaxsif import initialize_distributed, report_speed

initialize_distributed()

import jax  # noqa: E402  (after initialize_distributed, see docs/start.md)
import jax.numpy as jnp  # noqa: E402  (as above)
import numpy as np  # noqa: E402  (as above)
from jax.sharding import Mesh, NamedSharding  # noqa: E402  (as above)
from jax.sharding import PartitionSpec as P  # noqa: E402  (as above)

from jaxsif import arrays  # noqa: E402  (as above)

AXIS = "particle"


@dataclass(frozen=True)
class Posterior:
    """The distribution to sample, with its known moments; here both are normal.

    `log_density` takes one particle, an array of shape (dimensions,), and need not be
    normalised. `mean` has that shape, `covariance` (dimensions, dimensions).
    """

    log_density: Callable[[jax.Array], jax.Array]
    mean: np.ndarray
    covariance: np.ndarray


def gaussian() -> Posterior:
    """A normal distribution in two dimensions that depend on each other."""
    mean, covariance = np.array([1.0, -2.0]), np.array([[1.0, 0.6], [0.6, 0.8]])
    precision = jnp.asarray(np.linalg.inv(covariance))

    def log_density(x):
        return -(x - mean) @ precision @ (x - mean) / 2

    return Posterior(log_density, mean, covariance)


def regression(samples: int = 100, noise: float = 0.5) -> Posterior:
    """The weights of a linear regression with three inputs, given noisy data.

    With a standard normal prior the posterior is normal, and has a closed form.
    """
    random = np.random.default_rng(7)
    inputs = random.normal(size=(samples, 3)) @ np.diag([1.0, 0.5, 2.0])
    targets = inputs @ [0.7, -1.2, 0.3] + noise * random.normal(size=samples)
    precision = inputs.T @ inputs / noise**2 + np.eye(3)
    covariance = np.linalg.inv(precision)
    x, y = jnp.asarray(inputs), jnp.asarray(targets)

    def log_density(weights):
        misfit = jnp.sum((x @ weights - y) ** 2) / noise**2
        return -(misfit + jnp.sum(weights**2)) / 2

    return Posterior(
        log_density, covariance @ inputs.T @ targets / noise**2, covariance
    )


POSTERIORS = {"gaussian": gaussian, "regression": regression}


def pull_and_push(own, others, scores, width):
    """The force of some particles on our own: attraction along the density gradient,
    repulsion by near ones. Shapes (own, dimensions), (others, dimensions) twice;
    returns that of own."""
    apart = own[:, None, :] - others[None, :, :]
    kernel = jnp.exp(-jnp.sum(apart**2, axis=-1) / width)
    push = 2 / width * jnp.sum(kernel[:, :, None] * apart, axis=1)
    return kernel @ scores + push


def kernel_width(particles, count):
    """The mean squared distance of two particles, over log(count)."""
    return 2 * jnp.sum(jnp.var(particles, axis=0)) / jnp.log(count)


def by_all_gather(own, scores, count):
    """Every device gets all particles, and works on its own. One collective a step."""
    everyone = jax.lax.all_gather(jnp.concatenate([own, scores], 1), AXIS, tiled=True)
    particles, all_scores = jnp.split(everyone, 2, axis=1)
    width = kernel_width(particles, count)
    return pull_and_push(own, particles, all_scores, width) / count


def by_ring(own, scores, count):
    """The particles of each device go round, one device further at a time: no device
    ever holds more than its own and those of one other."""
    devices = jax.lax.axis_size(AXIS)
    mean = jax.lax.psum(jnp.sum(own, axis=0), AXIS) / count
    spread = jax.lax.psum(jnp.sum((own - mean) ** 2), AXIS) / count
    width = 2 * spread / jnp.log(count)
    onwards = [(i, (i + 1) % devices) for i in range(devices)]

    def visit(_, state):
        total, guests = state
        total += pull_and_push(own, *jnp.split(guests, 2, axis=1), width)
        return total, jax.lax.ppermute(guests, AXIS, onwards)

    start = jnp.zeros_like(own), jnp.concatenate([own, scores], 1)
    return jax.lax.fori_loop(0, devices, visit, start)[0] / count


EXCHANGES = {"all-gather": by_all_gather, "ring": by_ring}


def sample(
    posterior: Posterior, mesh: Mesh, options: argparse.Namespace
) -> tuple[jax.Array, float]:
    """The particles after all steps, shape (particles, dimensions), rows over the mesh,
    and how many seconds the steps took; compiling them does not count."""
    rows = NamedSharding(mesh, P(AXIS))
    shape = (options.particles, len(posterior.mean))
    exchange = EXCHANGES[options.exchange]
    score = jax.vmap(jax.grad(posterior.log_density))

    # The same numbers on any number of devices; each makes only its own.
    begin = jax.jit(partial(jax.random.normal, shape=shape), out_shardings=rows)
    particles = begin(jax.random.key(options.seed))

    def step(_, state):
        own, squares = state
        direction = exchange(own, score(own), options.particles)
        # AdaGrad: each coordinate by the size of its steps so far.
        squares += direction**2
        return own + options.rate * direction / (1e-6 + jnp.sqrt(squares)), squares

    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS))
    def run(own):
        return jax.lax.fori_loop(0, options.steps, step, (own, jnp.zeros_like(own)))[0]

    compiled = run.lower(particles).compile()
    began_s = time.monotonic()
    moved = jax.block_until_ready(compiled(particles))
    return moved, time.monotonic() - began_s


def errors(particles: np.ndarray, posterior: Posterior) -> tuple[float, float]:
    """Of mean and covariance, the largest, in standard deviations of the posterior."""
    deviation = np.sqrt(np.diag(posterior.covariance))
    mean = np.abs(particles.mean(axis=0) - posterior.mean) / deviation
    covariance = np.abs(np.cov(particles.T) - posterior.covariance)
    return mean.max(), (covariance / np.outer(deviation, deviation)).max()


def difference_from_one_device(particles: jax.Array, posterior, options) -> float:
    """Each process repeats it on a single device, and compares."""
    alone, _ = sample(posterior, Mesh(jax.local_devices()[:1], (AXIS,)), options)
    own = np.asarray(alone)[arrays.local_index(particles)]
    largest = np.abs(own - arrays.local_part(particles)).max()
    return float(arrays.all_gather_local(largest).max())


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(";")[0])
    parser.add_argument("--posterior", choices=POSTERIORS, default="gaussian")
    parser.add_argument("--particles", type=int, default=256)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.5, help="of learning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exchange", choices=EXCHANGES, default="all-gather")
    parser.add_argument("--compare", action="store_true", help="with one device")
    parser.add_argument("--save", metavar="FILE.npy", help="the particles, as they end")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    devices, name = jax.device_count(), options.posterior
    if options.particles % devices:
        raise SystemExit(
            f"--particles {options.particles} does not divide over {devices} devices;"
            f" use --particles {-(-options.particles // devices) * devices}"
        )
    # Another seed or number of steps in one process would give wrong numbers silently.
    arrays.check_same_program()
    posterior = POSTERIORS[name]()
    mesh = arrays.device_mesh(**{AXIS: -1})
    particles, seconds = sample(posterior, mesh, options)
    # For jax-sif scale: each particle meets all others at each step.
    report_speed(options.steps * options.particles**2, seconds, "interactions")
    # What all processes have to call comes before what one of them does alone.
    mean_error, covariance_error = errors(arrays.all_gather(particles), posterior)
    lines = [
        f"{options.particles} particles on {devices} devices of {jax.process_count()}"
        f" processes, {options.exchange}, {options.steps} steps",
        f"the mean is off by {mean_error:.4f} standard deviations",
        f"the covariance is off by {100 * covariance_error:.1f} %",
    ]
    if options.compare:
        difference = difference_from_one_device(particles, posterior, options)
        lines.append(f"the largest difference from one device is {difference:.1e}")
    if options.save:
        arrays.save_npy(options.save, particles)
        lines.append(f"the particles are in {options.save}")
    if jax.process_index() == 0:
        for line in lines:
            print(f"{name}: {line}", flush=True)
    if mean_error > 0.05 or covariance_error > 0.1:
        raise SystemExit(
            f"{name}: that is not the posterior; use more --steps or --particles"
        )


if __name__ == "__main__":
    main()
