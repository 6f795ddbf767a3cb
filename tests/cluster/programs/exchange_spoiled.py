"""Exchanges between two CPU devices of one process, well and spoiled, and prints how many elements were found wrong; in the container."""
# SPDX-License-Identifier: Apache-2.0

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)

from jaxsif.pairs.measure import MessageSpec, PairExchange  # noqa: E402  (the devices first)


class Spoiled(PairExchange):
    """One element of each device arrives changed."""

    def _chain(self, x: jax.Array, chained: int) -> jax.Array:
        return super()._chain(x, chained).at[7].add(1)


class Unsent(PairExchange):
    """Each device keeps its own data."""

    def _chain(self, x: jax.Array, chained: int) -> jax.Array:
        return x + chained


first, second = jax.devices()
spec = MessageSpec(4096, 3, 2)
for kind in (PairExchange, Spoiled, Unsent):
    timings = kind([first], [second]).run(spec)
    print(kind.__name__, timings.wrong, len(timings.times_us))
