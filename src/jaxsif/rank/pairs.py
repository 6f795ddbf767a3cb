"""Searches the nodes of a job for a slow one: plans rounds of pairs, measures this rank's own, tells it; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxsif.contract.errors import UsageError
from jaxsif.contract.identity import TOPOLOGY_ADDRESS
from jaxsif.contract.pairing import DISJOINT
from jaxsif.rank.assembly import Assembly, Task
from jaxsif.rank.exchange import Exchange, Load, Taken
from jaxsif.rank.narrator import Narrator
from jaxsif.rank.planner import Planner

# Two nodes that take longer than this for one load did not answer each other. The
# watchdog ends the rank a while after that.
_ANSWERS_S = 60.0
_MOST_FOR_ALL_PAIRS = 1024


def loads_for(platform: str, size_bytes: int | None, trials: int) -> list[Load]:
    """A small message for the latency, a large one for the bandwidth, in this order.

    Raises UsageError.
    """
    if trials < 1 or (size_bytes is not None and size_bytes < 4):
        raise UsageError(
            f"{trials} trials of {size_bytes} bytes measure nothing; say --trials of at"
            " least 1 and --size-bytes of at least 4"
        )
    if platform == "gpu":
        return [Load(8, 33, trials), Load(size_bytes or 64 << 20, 5, trials)]
    return [Load(8, 9, trials), Load(size_bytes or 4 << 20, 3, trials)]


def search(tell: Narrator, loads: Sequence[Load], *, is_full: bool = False) -> None:
    """Measures pairs of nodes until it is known which node or link is slow, if any.

    All ranks call it together. Every rank tells its own times as `pair` records; rank 0
    plans, and the judge comes to the same conclusions from the records.
    """
    # There is no public way to the client (JAX 0.12).
    from jax._src.distributed import global_state

    identity, place = tell.identity, _place(os.environ)
    if global_state.client is None or jax.process_count() == 1:
        _tell_alone(tell, place)
        return
    assembly = Assembly(global_state.client, identity)
    tell.enters("pairs")
    assembly.sit_down(place)
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
        # The same words in all rounds: ranks come to the next one moments apart.
        tell.enters("pairs")
        if task.partner:
            _measure(tell, assembly, task, loads, place)
        if planner and planned:
            print(planner.note(planned, assembly.results(planned)), flush=True)
        number += 1
    if number == 1:
        _tell_alone(tell, place)


def _refuse_too_many(nodes: int, is_full: bool) -> None:
    if is_full and nodes > _MOST_FOR_ALL_PAIRS:
        raise UsageError(
            f"--full with {nodes} nodes would take {nodes - 1} rounds; leave it out, or"
            f" ask for at most {_MOST_FOR_ALL_PAIRS} nodes"
        )


def _place(environment: Mapping[str, str]) -> str:
    """The switch above this node: `core.leaf3` of `core.leaf3.node17`; "" unknown."""
    return environment.get(TOPOLOGY_ADDRESS, "").rpartition(".")[0]


def _measure(
    tell: Narrator, assembly: Assembly, task: Task, loads: Sequence[Load], place: str
) -> None:
    """This rank's part of a pair, one load after the other."""
    exchange = Exchange(_devices(task.ours), _devices(task.theirs))
    facts = {
        "round": task.number,
        "kind": task.kind,
        "partner": exchange.partner_rank,
        "partner_node": task.partner,
        "place": place,
    }
    taken = []
    for load in loads:
        with _Patience(tell, {**facts, "size_bytes": load.size_bytes}):
            taken.append(exchange.run(load))
        _tell_taken(tell, facts, load, taken[-1])
    assembly.tell(task, exchange.partner_rank, [t.times_us for t in taken])


def _devices(ranks: Sequence[int]) -> list[Any]:
    """The devices of some ranks, in an order that is the same everywhere."""
    mine = set(ranks)
    devices = [d for d in jax.devices() if d.process_index in mine]
    return sorted(devices, key=lambda d: (d.process_index, d.id))


def _tell_taken(
    tell: Narrator, facts: Mapping[str, Any], load: Load, taken: Taken
) -> None:
    tell.saw_wrong_numbers |= taken.wrong > 0
    tell.say(
        "pair",
        **facts,
        size_bytes=load.size_bytes,
        chained=load.chained,
        times_us=taken.times_us,
        wrong=taken.wrong,
        timed_out=False,
    )


def _tell_alone(tell: Narrator, place: str) -> None:
    """One node: there is no pair, and the judge is told that nothing was measured."""
    who = tell.identity
    if who.local_rank == 0:
        print(f"{who.node} is the only node: there is no pair to measure", flush=True)
    tell.say(
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


class _Patience:
    """Tells, from a thread, that the partner does not answer; the program still waits."""

    def __init__(self, tell: Narrator, facts: Mapping[str, Any]) -> None:
        self._timer = threading.Timer(_ANSWERS_S, lambda: self._give_up(tell, facts))
        self._timer.daemon = True

    @staticmethod
    def _give_up(tell: Narrator, facts: Mapping[str, Any]) -> None:
        silence = {"times_us": [], "wrong": 0, "timed_out": True}
        tell.write("pair", is_flushed=False, **facts, **silence)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *ending: object) -> None:
        self._timer.cancel()
