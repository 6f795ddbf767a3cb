"""Test data: exact integers that depend on device, element and trial."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxsif.bandwidth.collectives import Buffers

JAX_DTYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16, "i32": jnp.int32}

# The integers up to this are exact, and so is every sum of them that stays below.
_EXACT = {"f32": 2**24, "bf16": 2**8, "i32": 2**31 - 1}

# Primes, so that values repeat in step with neither elements nor devices.
_ELEMENTS, _DEVICES, _TRIALS = 97, 61, 17


@dataclass(frozen=True)
class TestPattern:
    """Integers that the type holds exactly, and that differ by element, device and trial.

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
