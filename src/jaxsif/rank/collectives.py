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

from jaxsif.contract.collectives import Buffers

# The integers up to this are exact, and so is every sum of them that stays below.
_EXACT = {"f32": 2**24, "bf16": 2**8, "i32": 2**31 - 1}
_TYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16, "i32": jnp.int32}

# Primes, so that values repeat in step with neither elements nor devices.
_ELEMENTS, _DEVICES, _TRIALS = 97, 61, 17

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
    empty: jax.stages.Wrapped
    wrong: jax.stages.Wrapped


def programs(group: Group, collective: str, dtype: str, shape: Buffers) -> Programs:
    """What surrounds the collective; nothing here communicates."""
    data = _Data(collective, dtype, shape, group.size)
    return Programs(
        group.each(lambda trial: data.sent(lax.axis_index(_AXIS), trial[0]), 1),
        group.each(lambda trial: jnp.zeros(shape.received, _TYPES[dtype]), 1),
        group.each(
            lambda received, trial: data.wrong(
                received, lax.axis_index(_AXIS), trial[0]
            ),
            2,
        ),
    )


def compiled_chain(
    group: Group, collective: str, dtype: str, shape: Buffers, length: int
) -> tuple[jax.stages.Compiled, float]:
    """A program of so many collectives one after the other, and the seconds it took to
    compile.

    Each waits for the one before it: the first element of what it sends is taken from
    what the last one brought, if that is negative. It never is, so that the values stay
    exact, but no compiler can know, and none can leave a collective out. The buffers
    are used again (`donate_argnums`), and nothing but that element is copied.

    Raises NotImplementedHere where JAX has no such collective for the platform.
    """
    operation = _operation(collective, group.size)

    def step(_: Any, both: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        sent = both[0]
        received = operation(sent)
        first = jnp.where(received[:1] < 0, received[:1], sent[:1])
        return sent.at[:1].set(first), received

    def chain(sent: jax.Array, received: jax.Array) -> Any:
        return lax.fori_loop(0, length, step, (sent, received))

    kind = _TYPES[dtype]
    described = [
        jax.ShapeDtypeStruct((n * group.size,), kind, sharding=group.sharding)
        for n in (shape.sent, shape.received)
    ]
    began_s = time.perf_counter()
    try:
        program = group.each(chain, 2, 2, (0, 1)).lower(*described).compile()
    except (NotImplementedError, jax.errors.JaxRuntimeError) as error:
        if not is_unimplemented(error):
            raise
        raise NotImplementedHere(collective) from error
    return program, time.perf_counter() - began_s


def is_unimplemented(error: Exception) -> bool:
    """Whether JAX says that it cannot do this on any machine of the kind."""
    return isinstance(error, NotImplementedError) or "UNIMPLEMENTED" in str(error)


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


@dataclass(frozen=True)
class _Data:
    """Integers that the type holds exactly, and that differ by element, device and trial.

    By trial, so that a buffer which nobody has written since is not taken for right. A
    sum is exact when it, and so each of its parts, stays below what the type counts to.
    Where it would not (bf16, above all), each element comes from one device and the
    others give zeros, the next element from the next device.
    """

    collective: str
    dtype: str
    shape: Buffers
    devices: int

    @property
    def _is_sum(self) -> bool:
        return self.collective in ("all-reduce", "reduce-scatter")

    @property
    def _is_sparse(self) -> bool:
        most = _ELEMENTS + _DEVICES
        return self._is_sum and most * self.devices > _EXACT[self.dtype]

    def sent(self, device: jax.Array, trial: jax.Array) -> jax.Array:
        """What a device sends in a trial."""
        element = jnp.arange(self.shape.sent, dtype=jnp.uint32)
        device = device.astype(jnp.uint32)
        if self._is_sparse:
            values = jnp.where(
                (element + trial) % self.devices == device,
                _by_element(element, trial),
                0,
            )
        else:
            values = _by_element(element, trial) + _by_device(device)
        return values.astype(_TYPES[self.dtype])

    def wrong(self, received: jax.Array, device: jax.Array, trial: jax.Array) -> Any:
        """How many elements of what a device received are not right: one number."""
        device = device.astype(jnp.uint32)
        index = jnp.arange(self.shape.received, dtype=jnp.uint32)
        right = self._received(index, device, trial).astype(_TYPES[self.dtype])
        return jnp.sum(received != right, dtype=jnp.uint32)[None]

    def _received(
        self, index: jax.Array, device: jax.Array, trial: jax.Array
    ) -> jax.Array:
        if self._is_sum:
            is_scattered = self.collective == "reduce-scatter"
            element = index + device * self.shape.count if is_scattered else index
            if self._is_sparse:
                return _by_element(element, trial)
            by_all = sum(7 * d % _DEVICES for d in range(self.devices))
            return _by_element(element, trial) * self.devices + by_all
        source, element = self._source(index, device)
        return _by_element(element, trial) + _by_device(source)

    def _source(self, index: jax.Array, device: jax.Array) -> tuple[Any, jax.Array]:
        """From which device an element comes, and where it was there."""
        part = self.shape.count
        if self.collective == "all-gather":
            return index // part, index % part
        if self.collective == "all-to-all":
            return index // part, index % part + device * part
        if self.collective == "broadcast":
            return jnp.uint32(0), index
        return (device + self.devices - 1) % self.devices, index


def _by_element(element: jax.Array, trial: jax.Array) -> jax.Array:
    # One at least: a sum of zeros proves nothing.
    return (element + trial * _TRIALS) % _ELEMENTS + 1


def _by_device(device: jax.Array) -> jax.Array:
    return 7 * device % _DEVICES
