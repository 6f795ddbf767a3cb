"""Programs of collectives over all devices, and their exact test data."""
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

_AXIS = "device"
_PER_DEVICE = P(_AXIS)
JAX_DTYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16, "i32": jnp.int32}

# The integers up to this are exact, and so is every sum of them that stays below.
_EXACT = {"f32": 2**24, "bf16": 2**8, "i32": 2**31 - 1}

# Primes, so that values repeat in step with neither elements nor devices.
_ELEMENTS, _DEVICES, _TRIALS = 97, 61, 17


class UnsupportedCollective(Exception):
    """JAX does not implement this collective for these devices."""


class Group:
    """All devices of all processes in one row, and exchange of values between ranks."""

    def __init__(self) -> None:
        # Not jax.make_mesh: it rejects devices of several nodes (netket/netket#2260).
        devices = np.array(jax.devices())
        self.mesh = Mesh(devices, (_AXIS,))
        self.size = len(devices)
        self.sharding = NamedSharding(self.mesh, _PER_DEVICE)
        self._gather = self.per_device(lambda row: lax.psum(row, _AXIS), 1)

    def per_device(
        self,
        program: Callable[..., Any],
        arguments: int,
        results: int = 1,
        donated: tuple[int, ...] = (),
    ) -> jax.stages.Wrapped:
        """Compile a function of each device's part of the arguments for all devices."""
        return jax.jit(
            jax.shard_map(
                program,
                mesh=self.mesh,
                in_specs=(_PER_DEVICE,) * arguments,
                out_specs=_PER_DEVICE if results == 1 else (_PER_DEVICE,) * results,
                # Replication of the results does not matter here.
                check_vma=False,
            ),
            donate_argnums=donated,
        )

    def gather_floats(self, numbers: Sequence[float]) -> np.ndarray:
        """Gather every rank's numbers, as an array [rank, number]; a barrier as well.

        float32: times in microseconds keep seven digits.
        """
        processes, mine = jax.process_count(), jax.process_index()
        rows = np.zeros((jax.local_device_count(), processes, len(numbers)), np.float32)
        # A process contributes through its first device.
        rows[0, mine] = numbers
        inputs = jax.make_array_from_process_local_data(self.sharding, rows)
        return np.asarray(self._gather(inputs).addressable_shards[0].data)[0]

    def broadcast_int(self, value: int) -> jax.Array:
        """Put an integer on each device."""
        local = np.full(jax.local_device_count(), value, np.uint32)
        return jax.make_array_from_process_local_data(self.sharding, local)


@dataclass(frozen=True)
class Programs:
    """The programs of one collective at one size.

    `fill(trial)` makes the data to send, `wrong(received, trial)` counts wrong elements
    on the device; `repeated_program` runs in between.
    """

    fill: jax.stages.Wrapped
    # Makes the receive buffer, with arbitrary content.
    empty: jax.stages.Wrapped
    wrong: jax.stages.Wrapped


def programs(group: Group, collective: str, dtype: str, shape: Buffers) -> Programs:
    """Return the programs around the collective; none of them communicates."""
    pattern = TestPattern(collective, dtype, shape, group.size)
    fill = group.per_device(
        lambda trial: pattern.input_for(lax.axis_index(_AXIS), trial[0]), 1
    )
    empty = group.per_device(
        lambda trial: jnp.zeros(shape.received, JAX_DTYPES[dtype]), 1
    )
    return Programs(
        fill,
        # Saves one compilation: no trial has number 0, so its content is never right.
        fill if shape.sent == shape.received else empty,
        group.per_device(
            lambda received, trial: pattern.count_errors(
                received, lax.axis_index(_AXIS), trial[0]
            ),
            2,
        ),
    )


def repeated_program(
    group: Group, collective: str, dtype: str, shape: Buffers, length: int
) -> tuple[jax.stages.Wrapped, list[jax.ShapeDtypeStruct]]:
    """Return a program of `length` collectives in a row, and the shapes of its inputs.

    Each depends on the one before: the first element that it sends is taken from the
    last result, if that is negative. It never is, so that the values stay exact, but
    the compiler cannot know, and so cannot remove a collective. The buffers are reused
    (`donate_argnums`), and only that element is copied.
    """
    operation = _operation(collective, group.size)

    def step(_: Any, both: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        sent = both[0]
        received = operation(sent)
        first = jnp.where(received[:1] < 0, received[:1], sent[:1])
        return lax.dynamic_update_slice(sent, first, (0,)), received

    def steps(sent: jax.Array, received: jax.Array) -> Any:
        return lax.fori_loop(0, length, step, (sent, received))

    inputs = [
        jax.ShapeDtypeStruct(
            (n * group.size,), JAX_DTYPES[dtype], sharding=group.sharding
        )
        for n in (shape.sent, shape.received)
    ]
    return group.per_device(steps, 2, 2, (0, 1)), inputs


def compile_repeated(
    group: Group, collective: str, dtype: str, shape: Buffers, length: int
) -> tuple[jax.stages.Compiled, float]:
    """Return the compiled program, and the seconds it took to compile.

    Raises UnsupportedCollective if JAX has no such collective for the platform.
    """
    program, inputs = repeated_program(group, collective, dtype, shape, length)
    began_s = time.perf_counter()
    try:
        compiled = program.lower(*inputs).compile()
    except (NotImplementedError, jax.errors.JaxRuntimeError) as error:
        if not is_unimplemented(error):
            raise
        raise UnsupportedCollective(collective) from error
    return compiled, time.perf_counter() - began_s


def is_unimplemented(error: Exception) -> bool:
    """Whether JAX reports that the platform does not support this at all."""
    is_named = isinstance(error, (NotImplementedError, UnsupportedCollective))
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


@dataclass(frozen=True)
class TestPattern:
    """Integers that the type holds exactly; they differ by element, device and trial.

    By trial, so that a buffer that was not overwritten counts as wrong. A sum is exact
    if it stays within the exact integers of the type. If it would not (bf16 above all),
    each element comes from one device, the next from the next, and the others
    contribute 0.
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

    def input_for(self, device: jax.Array, trial: jax.Array) -> jax.Array:
        """The data that a device sends in a trial."""
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
        return values.astype(JAX_DTYPES[self.dtype])

    def count_errors(
        self, received: jax.Array, device: jax.Array, trial: jax.Array
    ) -> Any:
        """Count the wrong elements that a device received, as one number."""
        device = device.astype(jnp.uint32)
        index = jnp.arange(self.shape.received, dtype=jnp.uint32)
        right = self._received(index, device, trial).astype(JAX_DTYPES[self.dtype])
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
        """The device that an element comes from, and its index there."""
        part = self.shape.count
        if self.collective == "all-gather":
            return index // part, index % part
        if self.collective == "all-to-all":
            return index // part, index % part + device * part
        if self.collective == "broadcast":
            return jnp.uint32(0), index
        return (device + self.devices - 1) % self.devices, index


def _by_element(element: jax.Array, trial: jax.Array) -> jax.Array:
    # At least 1: a sum of zeros proves nothing.
    return (element + trial * _TRIALS) % _ELEMENTS + 1


def _by_device(device: jax.Array) -> jax.Array:
    return 7 * device % _DEVICES
