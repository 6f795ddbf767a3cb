"""Coordinating pairs: assignments through a store, rank 0's plan, partner timeouts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from sample_records import make_record

from jaxsif.core.errors import UsageError
from jaxsif.core.records import Record
from jaxsif.core.slurm_env import Identity
from jaxsif.pairs import coordinator
from jaxsif.pairs.coordinator import (
    NodeInfo,
    PairCoordinator,
    PartnerTimeout,
    RoundPlanner,
    Task,
    partner_timeout,
)
from jaxsif.pairs.model import PairTiming
from jaxsif.pairs.rounds import Round

TIMED_OUT = make_record(1, "pair", "node2", partner_node="node4", timed_out=True)


class Store:
    """The part of JAX's client that is used."""

    def __init__(self) -> None:
        self.content: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self._news = threading.Condition()

    def key_value_set(self, key: str, value: str, allow_overwrite: bool) -> None:
        with self._news:
            self.calls["set"] += 1
            self.content[key] = value
            self._news.notify_all()

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        self.calls["directory"] += 1
        return [(k, v) for k, v in list(self.content.items()) if k.startswith(folder)]

    def blocking_key_value_get(self, key: str, limit_ms: int) -> str:
        self.calls["get"] += 1
        with self._news:
            assert self._news.wait_for(lambda: key in self.content, 10)
        return self.content[key]


def ranks(store: Store, nodes: int, per_node: int) -> list[PairCoordinator]:
    count = nodes * per_node
    made = []
    for r in range(count):
        node = f"node{r // per_node + 1}"
        who = Identity("box.7.0.0", r, count, r % per_node, node, "")
        made.append(PairCoordinator(store, who))
    for rank in made:
        rank.register("leaf1")
    return made


def test_rank_0_learns_which_ranks_are_on_which_node():
    first, *_ = ranks(Store(), 2, 2)

    expected = [NodeInfo("node1", "leaf1", (0, 1)), NodeInfo("node2", "leaf1", (2, 3))]
    assert expected == first.nodes()


def test_each_node_gets_its_partner_and_the_odd_one_waits():
    coordinators = ranks(Store(), 3, 1)
    coordinators[0].assign(coordinators[0].nodes(), Round(1, "full", ((0, 2),)), 1)

    tasks = [rank.task(1) for rank in coordinators]
    assert Task(1, "full", 0, "node3", (0,), (2,)) == tasks[0]
    assert Task(1, "full") == tasks[1]
    assert Task(1, "full", 0, "node1", (2,), (0,)) == tasks[2]


def test_after_the_last_round_there_is_no_task():
    coordinators = ranks(Store(), 2, 1)
    coordinators[0].assign(coordinators[0].nodes(), None, 7)

    assert [None, None] == [rank.task(7) for rank in coordinators]


def test_rank_0_receives_the_times_of_a_pair_from_one_of_its_ranks():
    coordinators = ranks(Store(), 2, 2)
    planned = Round(1, "full", ((0, 1),))
    coordinators[0].assign(coordinators[0].nodes(), planned, 1)
    threads = [
        threading.Thread(target=rank.report, args=(task, partner, [[1.0], [float(r)]]))
        for r, (rank, partner) in enumerate(
            zip(coordinators, (2, 3, 0, 1), strict=True)
        )
        if (task := rank.task(1))
    ]
    for thread in threads:
        thread.start()
    small, large = coordinators[0].results(planned)[0, 1]
    for thread in threads:
        thread.join()

    # Of two ranks the shorter time, of the node's ranks the longest.
    assert ([1.0], [1.0]) == (small, large)


@pytest.mark.parametrize("nodes", [100, 1000])
def test_a_round_costs_each_rank_three_calls(nodes):
    store = Store()
    coordinators = ranks(store, nodes, 1)
    node_infos = coordinators[0].nodes()
    store.calls.clear()
    pairs = tuple((node, node + 1) for node in range(0, nodes, 2))
    planned = Round(1, "disjoint", pairs)
    coordinators[0].assign(node_infos, planned, 1)
    # The reporting ranks of the pairs last, so that none of them waits.
    for rank, partner in [(b, a) for a, b in pairs] + list(pairs):
        coordinators[rank].report(coordinators[rank].task(1), partner, [[1.0]])
    results = coordinators[0].results(planned)

    assert nodes // 2 == len(results)
    assert 4.1 > sum(store.calls.values()) / nodes


def test_the_planner_of_rank_0_ends_as_the_judge_does():
    planner = RoundPlanner([NodeInfo(f"node{i}", "", (i,)) for i in range(8)], False)
    while planned := planner.next():
        results = {pair: [[1.0], [1000.0]] for pair in planned.pairs}
        line = planner.record_round(planned, results)

    expected = "Round 2 (shifted): 4 pairs, median 1.000 ms, slowest node0 and node4"
    assert line.startswith(expected)
    assert 2 == len(planner.rounds)
    assert [PairTiming((0, 1), 1000.0)] == planner.bandwidth[:1]


class RecordingReporter:
    """The part of a reporter that is used."""

    identity = Identity("box.7.0.0", 1, 4, 0, "node2", "")

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, record: Record, *, is_flushed: bool) -> None:
        assert not is_flushed
        self.records.append(record)


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "_FLUSH_DELAY_S", 0.0)


def test_a_partner_that_does_not_respond_is_reported_before_the_rank_ends(capfd):
    reporter, ended = RecordingReporter(), threading.Event()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    with PartnerTimeout(reporter, 0.05, lambda: TIMED_OUT, end):
        assert ended.wait(10)

    assert [TIMED_OUT] == reporter.records
    assert [1] == statuses


def test_there_is_no_timeout_while_the_partner_responds():
    reporter = RecordingReporter()
    statuses: list[int] = []
    with PartnerTimeout(reporter, 1.0, lambda: TIMED_OUT, statuses.append) as waiting:
        for _ in range(12):
            time.sleep(0.1)
            waiting.reset()

    assert ([], []) == (reporter.records, statuses)


def test_there_is_no_timeout_after_the_block_has_ended():
    reporter = RecordingReporter()
    statuses: list[int] = []
    with PartnerTimeout(reporter, 0.1, lambda: TIMED_OUT, statuses.append):
        pass
    time.sleep(0.3)

    assert ([], []) == (reporter.records, statuses)


@pytest.mark.parametrize("seconds", [0.0, -3.0, 3601.0, float("nan"), float("inf")])
def test_no_time_to_answer_and_no_end_of_it_are_refused(seconds):
    with pytest.raises(UsageError, match=r"--timeout is .* from 1 to 3600"):
        partner_timeout(seconds)


def test_a_second_and_an_hour_are_taken():
    assert [1.0, 3600.0] == [partner_timeout(1.0), partner_timeout(3600.0)]
