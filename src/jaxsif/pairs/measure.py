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
from jaxsif.pairs.exchange import Exchange, Load, Ready, Taken
from jaxsif.pairs.planner import Planner
from jaxsif.pairs.rounds import DISJOINT
from jaxsif.pairs.timeout import PartnerTimeout
from jaxsif.rank.reporter import Reporter

# A node that waits this long for its partner gives up.
ANSWERS_S = 60.0
_MOST_FOR_ALL_PAIRS = 1024
# Trials of small messages per trial of large ones: they cost little, and the best counts.
_SMALL_FOR_ONE = 8
# More would not fit a record.
_MOST_TRIALS = 200


def loads_for(platform: str, size_bytes: int | None, trials: int) -> list[Load]:
    """Return a small message for the latency, then a large one for the bandwidth.

    Raises UsageError.
    """
    if not 1 <= trials <= _MOST_TRIALS:
        raise UsageError(f"--trials is {trials}, expected 1 to {_MOST_TRIALS}")
    if size_bytes is not None and size_bytes < 4:
        raise UsageError(f"--size-bytes is {size_bytes}, expected at least 4")
    # On a busy core the fewer in a row, the more trials in which none had to wait.
    small = min(_SMALL_FOR_ONE * trials, _MOST_TRIALS)
    if platform == "gpu":
        return [Load(8, 33, small), Load(size_bytes or 64 << 20, 5, trials)]
    return [Load(8, 1, small), Load(size_bytes or 4 << 20, 3, trials)]


def search(
    reporter: Reporter,
    loads: Sequence[Load],
    *,
    is_full: bool = False,
    timeout_s: float = ANSWERS_S,
) -> None:
    """Measure pairs of nodes until it is known which node or link is slow, if any.

    All ranks call it together. Every rank reports its own times as `pair` records; rank 0
    plans, and the verdict follows from the same records. A rank whose partner does not
    respond for `timeout_s` reports that and exits.
    """
    # There is no public way to the client (JAX 0.12).
    from jax._src.distributed import global_state

    identity, place = reporter.identity, _place(os.environ)
    if global_state.client is None or jax.process_count() == 1:
        _report_single_node(reporter, place)
        return
    assembly = PairCoordinator(global_state.client, identity)
    reporter.enters("pairs")
    assembly.register(place)
    planner = None
    if identity.rank == 0:
        planner = Planner(assembly.seats(), is_full)
        _refuse_too_many(len(planner.seats), is_full)
    number = 1
    while True:
        planned = planner.next() if planner else None
        if planner:
            assembly.assign(planner.seats, planned, number)
        task = assembly.task(number)
        if task is None:
            break
        # The same position in all rounds: ranks reach the next one moments apart.
        reporter.enters("pairs")
        if task.partner:
            _PairRun(reporter, task, place, timeout_s).measure(assembly, loads)
        if planner and planned:
            print(planner.note(planned, assembly.results(planned)), flush=True)
        number += 1
    if number == 1:
        _report_single_node(reporter, place)


def _refuse_too_many(nodes: int, is_full: bool) -> None:
    if is_full and nodes > _MOST_FOR_ALL_PAIRS:
        raise UsageError(
            f"--full with {nodes} nodes would take {nodes - 1} rounds; leave it out, or"
            f" request at most {_MOST_FOR_ALL_PAIRS} nodes"
        )


def _place(environment: Mapping[str, str]) -> str:
    """The switch above this node: `core.leaf3` of `core.leaf3.node17`; "" if unknown."""
    return environment.get(TOPOLOGY_ADDRESS, "").rpartition(".")[0]


class _PairRun:
    """This rank's part of a pair in one round."""

    def __init__(
        self, reporter: Reporter, task: Task, place: str, timeout_s: float
    ) -> None:
        self._reporter = reporter
        self._task = task
        self._answers_s = timeout_s
        self._exchange = Exchange(_devices(task.ours), _devices(task.theirs))
        self._facts = {
            "round": task.number,
            "kind": task.kind,
            "partner": self._exchange.partner_rank,
            "partner_node": task.partner,
            "place": place,
        }

    def measure(self, assembly: PairCoordinator, loads: Sequence[Load]) -> None:
        """Measure small messages before and after the large ones.

        What keeps a core busy for a moment does not affect both halves.
        """
        small, large = loads
        before = small.trials // 2
        of_small = self._exchange.prepare(small)
        first = self._take(of_small, before, is_first=True)
        of_large = self._exchange.prepare(large)
        between = self._take(of_large, large.trials, is_first=True)
        last = self._take(of_small, small.trials - before)
        told = ((small, first + last), (large, between))
        for load, taken in told:
            self._say(load, taken)
        times_us = [taken.times_us for _, taken in told]
        assembly.report(self._task, self._exchange.partner_rank, times_us)

    def _take(self, ready: Ready, trials: int, *, is_first: bool = False) -> Taken:
        # For the watchdog: the deadline applies to this step alone.
        self._reporter.enters("pairs")
        facts = {**self._facts, "size_bytes": ready.load.size_bytes}
        with PartnerTimeout(self._reporter, self._answers_s, facts) as patience:
            begun = self._exchange.connect(ready) if is_first else Taken([], 0)
            patience.heard()
            return begun + self._exchange.take(ready, trials, patience.heard)

    def _say(self, load: Load, taken: Taken) -> None:
        self._reporter.has_wrong_results |= taken.wrong > 0
        self._reporter.say(
            "pair",
            **self._facts,
            size_bytes=load.size_bytes,
            chained=load.chained,
            times_us=taken.times_us,
            wrong=taken.wrong,
            timed_out=False,
        )


def _devices(ranks: Sequence[int]) -> list[Any]:
    """The devices of some ranks, in the same order on all ranks."""
    mine = set(ranks)
    devices = [d for d in jax.devices() if d.process_index in mine]
    return sorted(devices, key=lambda d: (d.process_index, d.id))


def _report_single_node(reporter: Reporter, place: str) -> None:
    """Report that there is a single node, and so no pair to measure."""
    who = reporter.identity
    if who.local_rank == 0:
        print(f"{who.node} is the only node: there is no pair to measure", flush=True)
    reporter.say(
        "pair",
        round=0,
        kind=DISJOINT,
        partner=who.rank,
        partner_node=who.node,
        place=place,
        size_bytes=0,
        times_us=[],
        wrong=0,
        timed_out=False,
    )
