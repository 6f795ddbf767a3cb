"""Exchanges data between the devices of two nodes, times it, checks every element."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsif.core.errors import KitError

_ROWS = P("device")
# The distance between the first values of two devices.
_PATTERN_STRIDE = 8191


@dataclass(frozen=True)
class MessageSpec:
    """Bytes per device and direction, exchanges per program, and timed programs.

    The number of exchanges must be odd: only then the result is the partner's data.
    """

    size_bytes: int
    chained: int
    trials: int


@dataclass(frozen=True)
class PreparedExchange:
    """The programs and data of one message size on this rank's devices."""

    spec: MessageSpec
    sent: jax.Array
    expected: jax.Array
    exchange: Any
    check: Any


@dataclass(frozen=True)
class Timings:
    """This rank's time of one exchange in each trial, and its wrong elements."""

    times_us: list[float]
    wrong: int

    def __add__(self, later: Timings) -> Timings:
        return Timings(self.times_us + later.times_us, self.wrong + later.wrong)


class PairExchange:
    """Pairs the devices of two nodes: first with first, second with second, and so on.

    The program spans these devices only, so no rank waits for another pair: neither for
    its data nor to connect (a program over all devices would connect all with all).
    """

    def __init__(self, local: Sequence[Any], remote: Sequence[Any]) -> None:
        """Both sides pass the devices of their own node first. Raises KitError."""
        if len(local) != len(remote):
            raise KitError(
                f"{len(local)} devices on this node, {len(remote)} on its partner: pairs"
                " need as many on each; request the same --gpus-per-node on all nodes"
            )
        self._partner_of = {
            **dict(zip(local, remote, strict=True)),
            **dict(zip(remote, local, strict=True)),
        }
        # The same order on both sides.
        first, second = sorted((local, remote), key=lambda devices: devices[0].id)
        self._devices = [*first, *second]
        self._mesh = Mesh(np.array(self._devices), ("device",))
        half = len(first)
        self._routes = [(i, (i + half) % (2 * half)) for i in range(2 * half)]

    @property
    def partner_rank(self) -> int:
        """The rank that holds the partner of this rank's first device."""
        return int(self._partner_of[self._own()[0]].process_index)

    def run(self, spec: MessageSpec) -> Timings:
        """Exchange `spec.chained` times per program, and check every element."""
        prepared = self.prepare(spec)
        return self.connect(prepared) + self.time_trials(prepared, spec.trials)

    def prepare(self, spec: MessageSpec) -> PreparedExchange:
        """Compile the programs; nothing is sent yet."""
        count = max(spec.size_bytes // 4, 1)
        own = self._own()
        sent = self._rows([_pattern(device.id, count) for device in own])
        expected = self._rows([[self._partner_of[device].id] for device in own])
        exchange = self._program(lambda x: self._chain(x, spec.chained))
        check = self._program(
            lambda x, token: _count_wrong(x, token, count, spec.chained), 2
        )
        return PreparedExchange(
            spec, sent, expected, exchange.lower(sent).compile(), check
        )

    @staticmethod
    def connect(prepared: PreparedExchange) -> Timings:
        """Exchange once, untimed, to connect the two and to synchronize them."""
        wrong = _sum(
            prepared.check(prepared.exchange(prepared.sent), prepared.expected)
        )
        return Timings([], wrong)

    @staticmethod
    def time_trials(
        prepared: PreparedExchange,
        trials: int,
        on_response: Callable[[], None] = lambda: None,
    ) -> Timings:
        """Time the trials; `on_response` is called after each."""
        times_us, wrong = [], 0
        for _ in range(trials):
            began_s = time.perf_counter()
            received = prepared.exchange(prepared.sent).block_until_ready()
            elapsed_s = time.perf_counter() - began_s
            times_us.append(round(elapsed_s * 1e6 / prepared.spec.chained, 1))
            wrong += _sum(prepared.check(received, prepared.expected))
            on_response()
        return Timings(times_us, wrong)

    def _own(self) -> list[Any]:
        return [d for d in self._devices if d.process_index == jax.process_index()]

    def _rows(self, values: Sequence[Any]) -> jax.Array:
        """Distribute one row of integers per local device."""
        return jax.make_array_from_process_local_data(
            NamedSharding(self._mesh, _ROWS), np.concatenate(values, dtype=np.int32)
        )

    def _program(self, body: Any, inputs: int = 1) -> Any:
        return jax.jit(
            jax.shard_map(
                body, mesh=self._mesh, in_specs=(_ROWS,) * inputs, out_specs=_ROWS
            )
        )

    def _chain(self, x: jax.Array, chained: int) -> jax.Array:
        for _ in range(chained):
            # Each depends on the one before, so the compiler cannot cancel two of them.
            x = jax.lax.ppermute(x, "device", self._routes) + 1
        return x


def _pattern(number: int, count: int) -> np.ndarray:
    """The data that only this device sends; integers, so that they are exact."""
    first = number * _PATTERN_STRIDE % (1 << 30)
    return np.arange(first, first + count, dtype=np.int32)


def _count_wrong(
    x: jax.Array, number: jax.Array, count: int, chained: int
) -> jax.Array:
    """Count the elements that differ from what that device sends."""
    first = number[0] * _PATTERN_STRIDE % (1 << 30)
    expected = first + jnp.arange(count, dtype=jnp.int32)
    return jnp.sum(x != expected + chained, dtype=jnp.int32).reshape(1)


def _sum(counts: jax.Array) -> int:
    return sum(int(shard.data[0]) for shard in counts.addressable_shards)
