"""From times of pairs to what is slow: node, link, switch, or the whole cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from jaxsif.pairs.locate import locate_slow_elements
from jaxsif.pairs.model import (
    LATENCY,
    Pair,
    PairTiming,
    SearchResult,
    merge_rank_times,
    pair_timing,
)
from jaxsif.pairs.rounds import Round, next_round

HEALTHY_US = 100.0


def seen(
    count: int,
    time_us: Callable[[Pair], float | None],
    switches: list[str] | None = None,
) -> SearchResult:
    """What a whole search shows."""
    where = switches or [""] * count
    outcomes: list[PairTiming] = []
    done: list[Round] = []
    while (now := next_round(outcomes, where, done)) is not None:
        done.append(now)
        outcomes += [PairTiming(pair, time_us(pair)) for pair in now.pairs]
    return locate_slow_elements(outcomes, where)


def slow_with(*nodes: int, factor: float = 3.0) -> Callable[[Pair], float]:
    return lambda pair: HEALTHY_US * (factor if set(nodes) & set(pair) else 1.0)


def named(result: SearchResult) -> list[tuple[str, tuple[int, ...]]]:
    return [(slow.kind, slow.nodes) for slow in result.slow_elements]


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7, 8, 64, 65])
def test_one_slow_node_is_named_whatever_the_number_of_nodes(count):
    result = seen(count, slow_with(2))

    assert [("node", (2,))] == named(result)
    assert 1 / 3 == pytest.approx(result.slow_elements[0].relative_speed)
    assert HEALTHY_US == pytest.approx(result.median_us)


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7, 8, 64, 65])
def test_one_slow_link_names_neither_of_its_nodes(count):
    result = seen(count, lambda pair: 300.0 if pair == (0, 1) else 100.0)

    assert [("link", (0, 1))] == named(result)


@pytest.mark.parametrize("count", [3, 4, 5, 64])
def test_no_node_is_named_if_all_are_alike(count):
    assert () == seen(count, slow_with()).slow_elements


def test_a_slow_node_is_named_with_its_partners():
    (slow,) = seen(64, slow_with(7)).slow_elements

    assert 3 == len(slow.partners)
    assert 7 not in slow.partners


def test_two_slow_nodes_that_met_are_both_named():
    assert [("node", (0,)), ("node", (1,))] == sorted(named(seen(64, slow_with(0, 1))))


def test_a_node_that_met_only_slow_ones_is_cleared():
    # Node 0 meets node 1, then node 32.
    assert [1, 32] == sorted(
        b.nodes[0] for b in seen(64, slow_with(1, 32)).slow_elements
    )


@pytest.mark.parametrize(("factor", "is_failure"), [(1 / 0.8, False), (1 / 0.6, True)])
def test_a_little_slow_is_no_failure(factor, is_failure):
    (slow,) = seen(64, slow_with(7, factor=factor)).slow_elements

    assert is_failure == slow.is_failure


def test_nine_tenths_of_the_speed_is_well():
    assert () == seen(64, slow_with(7, factor=1 / 0.9)).slow_elements


def test_most_nodes_slow_is_no_fault_of_theirs():
    result = seen(16, slow_with(*range(9)))

    assert result.is_cluster_wide
    assert () == result.slow_elements


def test_a_node_that_does_not_answer_is_not_slow():
    result = seen(8, lambda pair: None if 3 in pair else 100.0)

    assert () == result.slow_elements
    assert all(3 in pair for pair in result.timed_out)
    assert 2 == len(result.timed_out)


def test_nothing_measured_shows_nothing():
    assert SearchResult(timed_out=((0, 1),)) == locate_slow_elements(
        [PairTiming((0, 1), None)], ["", ""]
    )


def test_two_nodes_cannot_be_distinguished():
    assert (
        () == locate_slow_elements([PairTiming((0, 1), 100.0)], ["", ""]).slow_elements
    )


SWITCHES = [f"leaf{node // 8}" for node in range(64)]


def test_a_slow_uplink_is_named_and_not_the_nodes_below_it():
    def time_us(pair: Pair) -> float:
        ends = {SWITCHES[node] for node in pair}
        return 300.0 if len(ends) == 2 and "leaf3" in ends else 100.0

    (slow,) = seen(64, time_us, SWITCHES).slow_elements

    assert ("switch", ("leaf3",)) == (slow.kind, slow.switches)


def test_a_slow_way_between_two_switches_is_named():
    # In the second round all of leaf0 meet all of leaf4.
    def time_us(pair: Pair) -> float:
        return 300.0 if {SWITCHES[n] for n in pair} == {"leaf0", "leaf4"} else 100.0

    (slow,) = seen(64, time_us, SWITCHES).slow_elements

    assert ("switches", ("leaf0", "leaf4")) == (slow.kind, slow.switches)


def test_a_slow_node_below_a_switch_is_named_and_not_the_switch():
    assert [("node", (27,))] == named(seen(64, slow_with(27), SWITCHES))


def test_ways_across_switches_that_are_all_slower_are_as_they_are_built():
    def time_us(pair: Pair) -> float:
        return 100.0 if SWITCHES[pair[0]] == SWITCHES[pair[1]] else 200.0

    assert () == seen(64, time_us, SWITCHES).slow_elements


def test_noise_names_no_node_in_two_hundred_healthy_clusters():
    dice = random.Random(7)

    def trials(pair: Pair) -> float:
        times = [dice.gauss(100.0, 10.0) for _ in range(5)]
        return pair_timing(pair, times).time_us

    assert 0 == sum(bool(seen(16, trials).slow_elements) for _ in range(200))


def test_small_messages_that_take_half_as_long_again_are_no_finding():
    outcomes = [
        PairTiming(pair, 150.0 if 0 in pair else 100.0)
        for pair in ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))
    ]

    assert () == locate_slow_elements(outcomes, [""] * 4, LATENCY).slow_elements
    assert [("node", (0,))] == named(locate_slow_elements(outcomes, [""] * 4))


def test_trials_are_summed_up_by_their_median_and_its_error():
    outcome = pair_timing((0, 1), [100.0, 100.0, 110.0, 90.0, 500.0])

    assert 100.0 == outcome.time_us
    assert 0.083 == pytest.approx(outcome.scatter, abs=0.001)


def test_no_trials_are_no_answer():
    assert PairTiming((0, 1), None) == pair_timing((0, 1), [])
    assert PairTiming((0, 1), None) == pair_timing((0, 1), [], LATENCY)


def test_the_best_of_many_small_messages_counts_and_how_near_the_next_one_is():
    outcome = pair_timing((0, 1), [3000.0, 2000.0, 100.0, 5000.0, 110.0], LATENCY)

    assert 100.0 == outcome.time_us
    assert 0.1 == pytest.approx(outcome.scatter)


def test_one_small_message_alone_is_its_own_best():
    assert PairTiming((0, 1), 7.0, 0.0) == pair_timing((0, 1), [7.0], LATENCY)


def test_a_small_message_that_arrives_before_its_receiver_is_not_called_fast():
    # In the second trial rank 1 began 90 us later than rank 0.
    samples = [(0, 1, [100.0, 190.0]), (1, 0, [100.0, 10.0])]

    assert [100.0, 100.0] == merge_rank_times(samples, LATENCY)


def test_a_rank_that_is_kept_waiting_once_does_not_spoil_the_trials_of_others():
    samples = [(0, 2, [5.0, 9.0, 5.0]), (1, 3, [7.0, 5.0, 5.0])]

    assert [5.0, 5.0, 9.0] == merge_rank_times(samples)


def small_messages(
    dice: random.Random, busy: float, late: Callable[[Pair], float] = lambda pair: 1.0
) -> Callable[[Pair], PairTiming]:
    """A search's small messages, with this share of trials delayed by a busy core."""

    def measured(pair: Pair) -> PairTiming:
        times = [100.0 * late(pair) * dice.lognormvariate(0.0, 0.1) for _ in range(40)]
        times = [t + dice.uniform(1e3, 1e4) * (dice.random() < busy) for t in times]
        return pair_timing(pair, times, LATENCY)

    return measured


def seen_by_small(count: int, measured: Callable[[Pair], PairTiming]) -> SearchResult:
    large: list[PairTiming] = []
    small: list[PairTiming] = []
    done: list[Round] = []
    switches = [""] * count
    while (
        now := next_round(large, switches, done, latency_outcomes=small)
    ) is not None:
        done.append(now)
        large += [PairTiming(pair, HEALTHY_US) for pair in now.pairs]
        small += [measured(pair) for pair in now.pairs]
    return locate_slow_elements(small, switches, LATENCY)


@pytest.mark.parametrize("count", [4, 16])
@pytest.mark.parametrize("busy", [0.1, 0.5, 0.8])
def test_a_busy_core_makes_no_node_slow(count, busy):
    dice = random.Random(5)
    results = [seen_by_small(count, small_messages(dice, busy)) for _ in range(100)]

    assert 0 == sum(bool(result.slow_elements) for result in results)


@pytest.mark.parametrize(
    ("who", "is_late"),
    [(("node", (2,)), lambda p: 2 in p), (("link", (0, 3)), lambda p: p == (0, 3))],
)
def test_a_way_that_delays_every_small_message_is_named_on_busy_cores_too(who, is_late):
    dice = random.Random(5)
    measured = small_messages(dice, 0.5, lambda pair: 20.0 if is_late(pair) else 1.0)

    for _ in range(50):
        assert [who] == named(seen_by_small(4, measured))


@pytest.mark.parametrize("count", [4, 16])
def test_a_machine_that_is_busy_with_other_things_names_no_node(count):
    dice = random.Random(11)

    def time_us(pair: Pair) -> float:
        return dice.lognormvariate(7.0, 0.6)

    slow_nodes = sum(bool(seen(count, time_us).slow_elements) for _ in range(200))
    assert slow_nodes <= 8


def test_one_very_long_time_is_no_slow_link():
    times = iter([50_000.0])

    def time_us(pair: Pair) -> float:
        return next(times, 100.0) if pair == (0, 1) else 100.0

    assert () == seen(4, time_us).slow_elements
    times = iter([50_000.0])
    assert () == seen(64, time_us).slow_elements
