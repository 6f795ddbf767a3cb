"""Measure pairs of nodes round by round, and check every element."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.records import PairRecord
from jaxsif.core.slurm_env import TOPOLOGY_ADDRESS
from jaxsif.pairs.coordinator import PairCoordinator, PartnerTimeout, RoundPlanner, Task
from jaxsif.pairs.rounds import DISJOINT
from jaxsif.rank.reporter import Reporter

# A node that waits this long for its partner gives up.
PARTNER_TIMEOUT_S = 60.0
_MAX_NODES_FULL = 1024
# Trials of small messages per trial of large ones: they cost little, and the best
# counts.
_SMALL_TRIALS_RATIO = 8
# More would not fit a record.
_MAX_TRIALS = 200
_PER_DEVICE = P("device")
# The distance between the first values of two devices.
_PATTERN_STRIDE = 8191


def message_specs(
    platform: str, size_bytes: int | None, trials: int
) -> list[MessageSpec]:
    """Return a small message for the latency, then a large one for the bandwidth.

    Raises UsageError.
    """
    if not 1 <= trials <= _MAX_TRIALS:
        raise UsageError(f"--trials is {trials}, expected 1 to {_MAX_TRIALS}")
    if size_bytes is not None and size_bytes < 4:
        raise UsageError(f"--size-bytes is {size_bytes}, expected at least 4")
    # On a busy core the fewer in a row, the more trials in which none had to wait.
    small = min(_SMALL_TRIALS_RATIO * trials, _MAX_TRIALS)
    if platform == "gpu":
        return [
            MessageSpec(8, 33, small),
            MessageSpec(size_bytes or 64 << 20, 5, trials),
        ]
    return [MessageSpec(8, 1, small), MessageSpec(size_bytes or 4 << 20, 3, trials)]


def run_search(
    reporter: Reporter,
    specs: Sequence[MessageSpec],
    *,
    is_full: bool = False,
    timeout_s: float = PARTNER_TIMEOUT_S,
) -> None:
    """Measure pairs of nodes until it is known which node or link is slow, if any.

    All ranks call it together. Every rank reports its own times as `pair` records; rank
    0 plans, and the verdict follows from the same records. A rank whose partner does
    not respond for `timeout_s` reports that and exits.
    """
    # There is no public way to the client (JAX 0.12).
    from jax._src.distributed import global_state

    identity, switch = reporter.identity, _switch_of_node(os.environ)
    if global_state.client is None or jax.process_count() == 1:
        _report_single_node(reporter, switch)
        return
    coordinator = PairCoordinator(global_state.client, identity)
    reporter.enters("pairs")
    coordinator.register(switch)
    planner = None
    if identity.rank == 0:
        planner = RoundPlanner(coordinator.nodes(), is_full)
        _check_node_count(len(planner.nodes), is_full)
    number = 1
    while True:
        planned = planner.next() if planner else None
        if planner:
            coordinator.assign(planner.nodes, planned, number)
        task = coordinator.task(number)
        if task is None:
            break
        # The same position in all rounds: ranks reach the next one moments apart.
        reporter.enters("pairs")
        if task.partner:
            _PairRun(reporter, task, switch, timeout_s).measure(coordinator, specs)
        if planner and planned:
            print(
                planner.record_round(planned, coordinator.results(planned)), flush=True
            )
        number += 1
    if number == 1:
        _report_single_node(reporter, switch)


def _check_node_count(nodes: int, is_full: bool) -> None:
    if is_full and nodes > _MAX_NODES_FULL:
        raise UsageError(
            f"--all-pairs with {nodes} nodes would take {nodes - 1} rounds; leave it"
            f" out, or request at most {_MAX_NODES_FULL} nodes"
        )


def _switch_of_node(environment: Mapping[str, str]) -> str:
    """The switch of this node: `core.leaf3` of `core.leaf3.node17`; "" if unknown."""
    return environment.get(TOPOLOGY_ADDRESS, "").rpartition(".")[0]


class _PairRun:
    """This rank's part of a pair in one round."""

    def __init__(
        self, reporter: Reporter, task: Task, switch: str, timeout_s: float
    ) -> None:
        self._reporter = reporter
        self._task = task
        self._timeout_s = timeout_s
        self._exchange = PairExchange(
            _devices(task.local_ranks), _devices(task.remote_ranks)
        )
        self._switch = switch

    def measure(
        self, coordinator: PairCoordinator, specs: Sequence[MessageSpec]
    ) -> None:
        """Measure small messages before and after the large ones.

        What keeps a core busy for a moment does not affect both halves.
        """
        small, large = specs
        before = small.trials // 2
        prepared_small = self._exchange.prepare(small)
        first = self._time(prepared_small, before, is_first=True)
        prepared_large = self._exchange.prepare(large)
        between = self._time(prepared_large, large.trials, is_first=True)
        last = self._time(prepared_small, small.trials - before)
        timings = ((small, first + last), (large, between))
        for spec, measured in timings:
            self._report(spec, measured)
        times_us = [measured.times_us for _, measured in timings]
        coordinator.report(self._task, self._exchange.partner_rank, times_us)

    def _time(
        self, prepared: PreparedExchange, trials: int, *, is_first: bool = False
    ) -> Timings:
        # For the watchdog: the deadline applies to this step alone.
        self._reporter.enters("pairs")
        record = partial(self._record, prepared.spec, Timings([], 0), timed_out=True)
        with PartnerTimeout(self._reporter, self._timeout_s, record) as timeout:
            connected = self._exchange.connect(prepared) if is_first else Timings([], 0)
            timeout.reset()
            return connected + self._exchange.time_trials(
                prepared, trials, timeout.reset
            )

    def _report(self, spec: MessageSpec, measured: Timings) -> None:
        self._reporter.has_wrong_results |= measured.wrong > 0
        self._reporter.emit(self._record(spec, measured))

    def _record(
        self, spec: MessageSpec, measured: Timings, *, timed_out: bool = False
    ) -> PairRecord:
        return PairRecord(
            **self._reporter.stamp(),
            round=self._task.number,
            kind=self._task.kind,
            partner=self._exchange.partner_rank,
            partner_node=self._task.partner,
            switch=self._switch,
            size_bytes=spec.size_bytes,
            repetitions=spec.chained,
            times_us=measured.times_us,
            wrong_elements=measured.wrong,
            timed_out=timed_out,
        )


def _devices(ranks: Sequence[int]) -> list[Any]:
    """The devices of some ranks, in the same order on all ranks."""
    chosen = set(ranks)
    devices = [d for d in jax.devices() if d.process_index in chosen]
    return sorted(devices, key=lambda d: (d.process_index, d.id))


def _report_single_node(reporter: Reporter, switch: str) -> None:
    """Report that there is a single node, and so no pair to measure."""
    identity = reporter.identity
    if identity.local_rank == 0:
        print(
            f"{identity.node} is the only node: there is no pair to measure", flush=True
        )
    reporter.emit(
        PairRecord(
            **reporter.stamp(),
            round=0,
            kind=DISJOINT,
            partner=identity.rank,
            partner_node=identity.node,
            switch=switch,
            size_bytes=0,
            repetitions=0,
            times_us=[],
            wrong_elements=0,
            timed_out=False,
        )
    )


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
                f"{len(local)} devices on this node, {len(remote)} on its partner:"
                " pairs need as many on each; request the same --gpus-per-node on all"
                " nodes"
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
            NamedSharding(self._mesh, _PER_DEVICE),
            np.concatenate(values, dtype=np.int32),
        )

    def _program(self, body: Any, inputs: int = 1) -> Any:
        return jax.jit(
            jax.shard_map(
                body,
                mesh=self._mesh,
                in_specs=(_PER_DEVICE,) * inputs,
                out_specs=_PER_DEVICE,
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
