"""Coordinate the rounds of pairs: rank 0's plan, tasks, results, timeouts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxsif.core.errors import UsageError
from jaxsif.core.records import PairRecord
from jaxsif.core.slurm_env import Identity
from jaxsif.core.text import plural
from jaxsif.pairs.model import (
    BANDWIDTH,
    LATENCY,
    Pair,
    PairTiming,
    merge_rank_times,
    pair_timing,
)
from jaxsif.pairs.rounds import Round, next_round
from jaxsif.rank.reporter import Reporter

# Each rank writes and reads a few keys per round; rank 0 reads and writes one for each
# pair and node. Traffic is linear in the number of ranks.
_KEY_PREFIX = "jaxsif/pairs"
# Keys read at once, so that a response fits into one gRPC message.
_BLOCK = 1000
# The watchdog ends a rank sooner, and reports why.
_TASK_TIMEOUT_MS = 24 * 3600 * 1000
# What the message sizes measure, in their order.
_THRESHOLDS = (LATENCY, BANDWIDTH)
# The times of each pair: of the small message, then of the large one.
Results = Mapping[Pair, Sequence[Sequence[float]]]
# Time for the partner, and for other pairs that hang, to time out and report as well.
_FLUSH_DELAY_S = 1.0
_MAX_TIMEOUT_S = 3600


@dataclass(frozen=True)
class NodeInfo:
    """A node of the group: its name, the switch that it is below, and its ranks."""

    node: str
    switch: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Task:
    """A node's task in a round. Without a partner it waits for the next round."""

    number: int
    kind: str
    pair: int = 0
    partner: str = ""
    # The ranks of the pair's two nodes, those of this node first.
    local_ranks: tuple[int, ...] = ()
    remote_ranks: tuple[int, ...] = ()

    @property
    def is_reporter(self) -> bool:
        """Whether this node reports the pair's result to rank 0."""
        return self.local_ranks < self.remote_ranks


class PairCoordinator:
    """Exchanges tasks and results between the ranks."""

    def __init__(self, client: Any, identity: Identity) -> None:
        """`client`: JAX's client of the coordinator, as in peers.py."""
        self._client = client
        self._rank, self._processes = identity.rank, identity.processes
        self._node = identity.node
        self._folder = f"{_KEY_PREFIX}/{identity.step}"

    def register(self, switch: str) -> None:
        """Publish this rank's node, and the switch above it."""
        self._set_numbered("node", self._rank, [self._node, switch])

    def nodes(self) -> list[NodeInfo]:
        """All nodes, in the order of their first ranks; for rank 0."""
        ranks: dict[tuple[str, str], list[int]] = {}
        for rank, (node, switch) in self._all_numbered("node", self._processes):
            ranks.setdefault((node, switch), []).append(rank)
        return [
            NodeInfo(node, switch, tuple(own)) for (node, switch), own in ranks.items()
        ]

    def assign(
        self, nodes: Sequence[NodeInfo], planned: Round | None, number: int
    ) -> None:
        """Give every node its task in a round, or None after the last; for rank 0."""
        tasks: dict[str, Any] = {node.node: None for node in nodes}
        if planned is not None:
            tasks = {node.node: [planned.kind] for node in nodes}
            for number_of_pair, pair in enumerate(planned.pairs):
                first, second = (nodes[index] for index in pair)
                for own, other in ((first, second), (second, first)):
                    ranks = [own.ranks, other.ranks]
                    tasks[own.node] = [planned.kind, number_of_pair, other.node, *ranks]
        for name, task in tasks.items():
            self._set(f"task/{number}/{name}", task)

    def task(self, number: int) -> Task | None:
        """Wait for this node's task; None if there are no more rounds."""
        key = f"{self._folder}/task/{number}/{self._node}"
        value = json.loads(self._client.blocking_key_value_get(key, _TASK_TIMEOUT_MS))
        if value is None or len(value) == 1:
            return value and Task(number, value[0])
        kind, pair, partner, local_ranks, remote_ranks = value
        return Task(
            number, kind, pair, partner, tuple(local_ranks), tuple(remote_ranks)
        )

    def report(
        self, task: Task, partner: int, times_us: Sequence[Sequence[float]]
    ) -> None:
        """Publish the times per message size; one rank merges those of the pair."""
        folder = f"times/{task.number}/{task.pair}"
        self._set(f"{folder}/{self._rank}", [partner, times_us])
        if task.is_reporter and self._rank == task.local_ranks[0]:
            samples = self._all(folder, len(task.local_ranks) + len(task.remote_ranks))
            result = [
                merge_rank_times(
                    ((rank, other, times[i]) for rank, (other, times) in samples),
                    thresholds,
                )
                for i, thresholds in enumerate(_THRESHOLDS[: len(times_us)])
            ]
            self._set_numbered(f"result/{task.number}", task.pair, result)

    def results(self, planned: Round) -> dict[Pair, list[list[float]]]:
        """The times of each pair, per message size; for rank 0."""
        found = self._all_numbered(f"result/{planned.number}", len(planned.pairs))
        return {planned.pairs[index]: times for index, times in found}

    def _set(self, key: str, value: Any) -> None:
        text = json.dumps(value, separators=(",", ":"))
        self._client.key_value_set(f"{self._folder}/{key}", text, True)

    def _set_numbered(self, folder: str, number: int, value: Any) -> None:
        self._set(f"{folder}/{number // _BLOCK}/{number}", value)

    def _all_numbered(self, folder: str, count: int) -> Iterator[tuple[int, Any]]:
        """The values numbered 0 to count - 1, in order."""
        for start in range(0, count, _BLOCK):
            block = self._all(f"{folder}/{start // _BLOCK}", min(_BLOCK, count - start))
            yield from block

    def _all(self, folder: str, count: int) -> list[tuple[int, Any]]:
        """Wait until a folder holds `count` numbered values."""
        pause_s = 0.002
        while True:
            found = self._client.key_value_dir_get(f"{self._folder}/{folder}/")
            if len(found) >= count:
                return sorted(
                    (int(key.rpartition("/")[2]), json.loads(text))
                    for key, text in found
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.2)


@dataclass
class RoundPlanner:
    """The nodes, the rounds so far, and their results."""

    nodes: list[NodeInfo]
    is_full: bool
    rounds: list[Round] = field(default_factory=list)
    latency: list[PairTiming] = field(default_factory=list)
    bandwidth: list[PairTiming] = field(default_factory=list)

    def next(self) -> Round | None:
        """The next round, by the same rules as in the simulation."""
        switches = [node.switch for node in self.nodes]
        return next_round(
            self.bandwidth,
            switches,
            self.rounds,
            latency_outcomes=self.latency,
            is_full=self.is_full,
        )

    def record_round(self, planned: Round, results: Results) -> str:
        """Add the results of a round. Return a line that describes them."""
        self.rounds.append(planned)
        last = []
        for pair, (small, large) in results.items():
            self.latency.append(pair_timing(pair, small, LATENCY))
            last.append(pair_timing(pair, large))
        self.bandwidth += last
        slowest = max(last, key=lambda outcome: outcome.time_us or 0.0)
        names = " and ".join(self.nodes[node].node for node in slowest.pair)
        median_us = statistics.median(outcome.time_us or 0.0 for outcome in last)
        return (
            f"Round {planned.number} ({planned.kind}):"
            f" {plural(len(planned.pairs), 'pair')}, median"
            f" {median_us / 1e3:.3f} ms, slowest {names}"
            f" {(slowest.time_us or 0) / 1e3:.3f} ms"
        )


def partner_timeout(seconds: float) -> float:
    """Check the time one node of a pair waits for the other. Raises UsageError."""
    if not 1 <= seconds <= _MAX_TIMEOUT_S:
        raise UsageError(
            f"--timeout is {seconds:g}, expected a number of seconds from 1 to"
            f" {_MAX_TIMEOUT_S}"
        )
    return seconds


class PartnerTimeout:
    """Context manager that exits if the partner does not respond within `limit_s`."""

    def __init__(
        self,
        reporter: Reporter,
        limit_s: float,
        record: Callable[[], PairRecord],
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`record`: returns the record that reports the timeout."""
        self._reporter = reporter
        self._limit_s = limit_s
        self._record = record
        self._end = end
        self._last_response_s = 0.0
        self._is_over = threading.Event()

    def reset(self) -> None:
        """The partner has responded. Cheap, because it runs between timed trials."""
        self._last_response_s = time.monotonic()

    def __enter__(self) -> PartnerTimeout:
        self.reset()
        threading.Thread(target=self._wait, daemon=True).start()
        return self

    def __exit__(self, *ending: object) -> None:
        self._is_over.set()

    def _wait(self) -> None:
        while (left_s := self._last_response_s + self._limit_s - time.monotonic()) > 0:
            if self._is_over.wait(left_s):
                return
        self._expire()

    def _expire(self) -> None:
        record = self._record()
        self._reporter.write(record, is_flushed=False)
        identity = self._reporter.identity
        print(
            f"jax-sif: rank {identity.rank} on {identity.node}:"
            f" {record.partner_node} did not respond for {self._limit_s:g} s",
            file=sys.__stderr__,
            flush=True,
        )
        self._is_over.wait(_FLUSH_DELAY_S)
        self._end(1)
