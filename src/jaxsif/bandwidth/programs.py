"""Collectives over all devices of the job, many in one program, with data that is known beforehand; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsif.bandwidth.collectives import Buffers
from jaxsif.bandwidth.test_pattern import TYPES, Data

_AXIS = "device"
_EACH = P(_AXIS)


class NotImplementedHere(Exception):
    """JAX has no such collective for these devices."""


class Group:
    """All devices of all processes in one row, and what the ranks tell each other."""

    def __init__(self) -> None:
        # Not jax.make_mesh: it refuses device sets that span nodes (netket/netket#2260).
        devices = np.array(jax.devices())
        self.mesh = Mesh(devices, (_AXIS,))
        self.size = len(devices)
        self.sharding = NamedSharding(self.mesh, _EACH)
        self._gather = self.each(lambda row: lax.psum(row, _AXIS), 1)

    def each(
        self,
        program: Callable[..., Any],
        arguments: int,
        results: int = 1,
        donated: tuple[int, ...] = (),
    ) -> jax.stages.Wrapped:
        """A program of each device's part of its arguments, for all devices at once."""
        return jax.jit(
            jax.shard_map(
                program,
                mesh=self.mesh,
                in_specs=(_EACH,) * arguments,
                out_specs=_EACH if results == 1 else (_EACH,) * results,
                # Which results are alike on all devices is no matter here.
                check_vma=False,
            ),
            donate_argnums=donated,
        )

    def told(self, numbers: Sequence[float]) -> np.ndarray:
        """What every rank gave, as an array [rank, number]; all ranks wait for all.

        float32: times in microseconds keep seven digits.
        """
        processes, mine = jax.process_count(), jax.process_index()
        rows = np.zeros((jax.local_device_count(), processes, len(numbers)), np.float32)
        # A process speaks through its first device.
        rows[0, mine] = numbers
        given = jax.make_array_from_process_local_data(self.sharding, rows)
        return np.asarray(self._gather(given).addressable_shards[0].data)[0]

    def number(self, value: int) -> jax.Array:
        """One integer for each device."""
        local = np.full(jax.local_device_count(), value, np.uint32)
        return jax.make_array_from_process_local_data(self.sharding, local)


@dataclass(frozen=True)
class Programs:
    """The programs of one collective at one size.

    `fill(trial)` makes what is sent, `chain(sent, received)` does the collective k times
    and returns both, `wrong(received, trial)` counts the elements that are not what they
    must be, on the device.
    """

    fill: jax.stages.Wrapped
    # Makes the buffer that is received into, with anything in it.
    empty: jax.stages.Wrapped
    wrong: jax.stages.Wrapped


def programs(group: Group, collective: str, dtype: str, shape: Buffers) -> Programs:
    """What surrounds the collective; nothing here communicates."""
    data = Data(collective, dtype, shape, group.size)
    fill = group.each(lambda trial: data.sent(lax.axis_index(_AXIS), trial[0]), 1)
    empty = group.each(lambda trial: jnp.zeros(shape.received, TYPES[dtype]), 1)
    return Programs(
        fill,
        # One program less to compile: no trial has number 0, so it is never right.
        fill if shape.sent == shape.received else empty,
        group.each(
            lambda received, trial: data.wrong(
                received, lax.axis_index(_AXIS), trial[0]
            ),
            2,
        ),
    )


def chain(
    group: Group, collective: str, dtype: str, shape: Buffers, length: int
) -> tuple[jax.stages.Wrapped, list[jax.ShapeDtypeStruct]]:
    """A program of so many collectives one after the other, and what it is given.

    Each waits for the one before it: the first element of what it sends is taken from
    what the last one brought, if that is negative. It never is, so that the values stay
    exact, but no compiler can know, and none can leave a collective out. The buffers
    are used again (`donate_argnums`), and nothing but that element is copied.
    """
    operation = _operation(collective, group.size)

    def step(_: Any, both: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        sent = both[0]
        received = operation(sent)
        first = jnp.where(received[:1] < 0, received[:1], sent[:1])
        return lax.dynamic_update_slice(sent, first, (0,)), received

    def steps(sent: jax.Array, received: jax.Array) -> Any:
        return lax.fori_loop(0, length, step, (sent, received))

    given = [
        jax.ShapeDtypeStruct((n * group.size,), TYPES[dtype], sharding=group.sharding)
        for n in (shape.sent, shape.received)
    ]
    return group.each(steps, 2, 2, (0, 1)), given


def compiled_chain(
    group: Group, collective: str, dtype: str, shape: Buffers, length: int
) -> tuple[jax.stages.Compiled, float]:
    """The chain, compiled, and the seconds that took.

    Raises NotImplementedHere where JAX has no such collective for the platform.
    """
    program, given = chain(group, collective, dtype, shape, length)
    began_s = time.perf_counter()
    try:
        compiled = program.lower(*given).compile()
    except (NotImplementedError, jax.errors.JaxRuntimeError) as error:
        if not is_unimplemented(error):
            raise
        raise NotImplementedHere(collective) from error
    return compiled, time.perf_counter() - began_s


def is_unimplemented(error: Exception) -> bool:
    """Whether JAX says that it cannot do this on any machine of the kind."""
    is_named = isinstance(error, (NotImplementedError, NotImplementedHere))
    return is_named or "UNIMPLEMENTED" in str(error)


def _operation(collective: str, devices: int) -> Callable[[jax.Array], jax.Array]:
    ring = [(device, (device + 1) % devices) for device in range(devices)]
    operations: dict[str, Callable[[jax.Array], jax.Array]] = {
        "all-reduce": lambda x: lax.psum(x, _AXIS),
        "all-gather": lambda x: lax.all_gather(x, _AXIS, tiled=True),
        "reduce-scatter": lambda x: lax.psum_scatter(x, _AXIS, tiled=True),
        "all-to-all": lambda x: lax.all_to_all(x, _AXIS, 0, 0, tiled=True),
        # As a tuple: JAX 0.10 takes each letter of a name for a name, in a loop.
        "broadcast": lambda x: lax.pbroadcast(x, (_AXIS,), 0),
        "send-recv": lambda x: lax.ppermute(x, _AXIS, ring),
    }
    return operations[collective]
