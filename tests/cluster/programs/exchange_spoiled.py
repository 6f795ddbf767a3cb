"""Pairs of two devices exchange data as they are, with one wrong element, and not at all."""
# SPDX-License-Identifier: Apache-2.0

# Prints how many wrong elements each of the three finds; runs in the container.

import jax
from jax import lax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)

from jaxsif.pairs.measure import MessageSpec, PairExchange  # noqa: E402  (the devices first)

permute = lax.ppermute


def spoiled(x, *arguments):
    """One element of each device arrives changed."""
    return permute(x, *arguments).at[7].add(1)


def unsent(x, *arguments):
    """Each device keeps its own data."""
    return x


first, second = jax.devices()
spec = MessageSpec(4096, 3, 2)
for exchange in (permute, spoiled, unsent):
    lax.ppermute = exchange
    timings = PairExchange([first], [second]).run(spec)
    print(exchange.__name__, timings.wrong, len(timings.times_us))
