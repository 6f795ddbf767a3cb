"""Which nodes meet: none twice at a time, each soon, suspects with healthy ones."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsif.pairs.model import PairTiming
from jaxsif.pairs.rounds import (
    Round,
    disjoint_round,
    full_round,
    next_round,
    number_of_full_rounds,
    shifted_round,
)

SWITCHES = st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=2, max_size=60)


def nodes_of(a_round: Round) -> list[int]:
    return [node for pair in a_round.pairs for node in pair]


@settings(deadline=None)
@given(SWITCHES)
def test_no_node_is_in_two_pairs_and_at_most_one_sits_out(switches):
    first = disjoint_round(switches)
    second = shifted_round(switches, first)

    for a_round in (first, second):
        nodes = nodes_of(a_round)
        assert len(set(nodes)) == len(nodes)
        assert len(nodes) >= len(switches) - 1


@settings(deadline=None)
@given(SWITCHES)
def test_no_node_sits_out_twice(switches):
    first = disjoint_round(switches)
    second = shifted_round(switches, first)

    assert set(range(len(switches))) == {*nodes_of(first), *nodes_of(second)}


@settings(deadline=None)
@given(SWITCHES.filter(lambda switches: len(switches) > 3))
def test_the_second_round_has_another_partner_for_each(switches):
    first = disjoint_round(switches)

    assert set() == set(first.pairs) & set(shifted_round(switches, first).pairs)


def test_the_first_round_stays_below_one_switch_as_far_as_it_can():
    assert ((0, 2), (1, 3), (4, 5)) == disjoint_round(list("ababab")).pairs


def test_the_second_round_crosses_switches():
    switches = ["a"] * 4 + ["b"] * 4
    second = shifted_round(switches, disjoint_round(switches))

    assert all(switches[a] != switches[b] for a, b in second.pairs)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 16])
def test_a_full_round_robin_has_every_pair_once(count):
    switches = [""] * count
    rounds = [full_round(switches, i + 1) for i in range(number_of_full_rounds(count))]

    pairs = [pair for a_round in rounds for pair in a_round.pairs]
    assert sorted(combinations(range(count), 2)) == sorted(pairs)
    assert all(len(set(nodes_of(r))) == len(nodes_of(r)) for r in rounds)


def test_one_node_has_no_partner():
    assert next_round([], [""], []) is None


def search(count: int, time_us, **options) -> list[Round]:
    """All rounds of a search, with the times that a function gives for a pair."""
    outcomes: list[PairTiming] = []
    done: list[Round] = []
    while (now := next_round(outcomes, [""] * count, done, **options)) is not None:
        done.append(now)
        outcomes += [PairTiming(pair, time_us(pair)) for pair in now.pairs]
    return done


def test_healthy_nodes_meet_two_partners_and_no_more():
    assert ["disjoint", "shifted"] == [r.kind for r in search(64, lambda pair: 100.0)]


def test_a_slow_node_is_measured_with_a_third_partner_that_is_well():
    rounds = search(64, lambda pair: 300.0 if 7 in pair else 100.0)

    partners = {r.partner(7) for r in rounds}
    assert 3 == len(rounds) == len(partners)
    assert rounds[2].partner(7) not in {rounds[0].partner(7), rounds[1].partner(7)}


def test_a_slow_link_is_measured_again():
    rounds = search(64, lambda pair: 300.0 if pair == (0, 1) else 100.0)

    assert "retest" == rounds[2].kind
    assert (0, 1) in rounds[2].pairs


def test_four_nodes_all_meet_each_other_twice():
    pairs = [pair for r in search(4, lambda pair: 100.0) for pair in r.pairs]

    assert sorted([*combinations(range(4), 2)] * 2) == sorted(pairs)


def test_a_map_of_all_pairs_ends_when_it_is_full():
    rounds = search(9, lambda pair: 300.0 if 7 in pair else 100.0, is_full=True)

    assert ["full"] * 9 == [r.kind for r in rounds]
    assert 36 == sum(len(r.pairs) for r in rounds)


def test_the_rounds_end_where_times_never_agree():
    times = iter(range(100, 10**6, 7))

    assert len(search(64, lambda pair: float(hash(pair) % 97 + next(times)))) <= 8
