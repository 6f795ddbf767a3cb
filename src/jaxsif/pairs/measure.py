"""Searches a job for a slow node: plans rounds of pairs, measures and reports them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import TOPOLOGY_ADDRESS
from jaxsif.pairs.coordinator import PairCoordinator, Task
from jaxsif.pairs.exchange import MessageSpec, PairExchange, PreparedExchange, Timings
from jaxsif.pairs.planner import RoundPlanner
from jaxsif.pairs.rounds import DISJOINT
from jaxsif.pairs.timeout import PartnerTimeout
from jaxsif.rank.reporter import Reporter

# A node that waits this long for its partner gives up.
PARTNER_TIMEOUT_S = 60.0
_MAX_NODES_FULL = 1024
# Trials of small messages per trial of large ones: they cost little, and the best
# counts.
_SMALL_TRIALS_RATIO = 8
# More would not fit a record.
_MAX_TRIALS = 200


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
            f"--full with {nodes} nodes would take {nodes - 1} rounds; leave it out, or"
            f" request at most {_MAX_NODES_FULL} nodes"
        )


def _switch_of_node(environment: Mapping[str, str]) -> str:
    """The switch above this node: `core.leaf3` of `core.leaf3.node17`; "" if unknown."""
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
        self._facts = {
            "round": task.number,
            "kind": task.kind,
            "partner": self._exchange.partner_rank,
            "partner_node": task.partner,
            "place": switch,
        }

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
        facts = {**self._facts, "size_bytes": prepared.spec.size_bytes}
        with PartnerTimeout(self._reporter, self._timeout_s, facts) as timeout:
            connected = self._exchange.connect(prepared) if is_first else Timings([], 0)
            timeout.reset()
            return connected + self._exchange.time_trials(
                prepared, trials, timeout.reset
            )

    def _report(self, spec: MessageSpec, measured: Timings) -> None:
        self._reporter.has_wrong_results |= measured.wrong > 0
        self._reporter.say(
            "pair",
            **self._facts,
            size_bytes=spec.size_bytes,
            chained=spec.chained,
            times_us=measured.times_us,
            wrong=measured.wrong,
            timed_out=False,
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
    reporter.say(
        "pair",
        round=0,
        kind=DISJOINT,
        partner=identity.rank,
        partner_node=identity.node,
        place=switch,
        size_bytes=0,
        times_us=[],
        wrong=0,
        timed_out=False,
    )
