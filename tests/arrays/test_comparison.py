"""Sentences about processes that differ or fail: which ranks, on which nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.arrays.comparison import differences, format_problems

NODES = ["node1", "node1", "node2", "node2"]


def facts(*rates: str) -> list[dict[str, tuple[str, str]]]:
    return [{"rate": (f"digest of {rate}", rate)} for rate in rates]


@pytest.mark.parametrize(
    ("problems", "sentence"),
    [
        (["", "", ""], ""),
        (["", "full", ""], "rank 1 on node1: full"),
        (["full", "", "x"], "rank 0 on node1: full (and 1 more rank)"),
        (["full"] * 3, "rank 0 on node1: full (and 2 more ranks)"),
    ],
)
def test_the_first_problem_is_shown_and_the_others_counted(problems, sentence):
    assert sentence == format_problems(problems, NODES)


def test_equal_values_are_not_reported():
    assert [] == list(differences(facts("1", "1", "1", "1"), NODES))


def test_the_rank_that_differs_is_named_first_with_its_node_and_value():
    assert [
        "rate differs: 2 on rank 3 on node2; 1 on ranks 0-2 (node1, node2)"
    ] == list(differences(facts("1", "1", "1", "2"), NODES))


def test_what_only_one_has_given_differs():
    given = [*facts("1"), {}, {}, {}]

    assert [
        "rate differs: 1 on rank 0 on node1; not given on ranks 1-3 (node1, node2)"
    ] == list(differences(given, NODES))


def test_values_that_only_look_alike_differ():
    given = [{"x": ("a", "long...")}, {"x": ("b", "long...")}]

    assert 1 == len(list(differences(given, NODES[:2])))


def test_every_thing_that_differs_has_its_sentence():
    given = [
        {"x": ("1", "1"), "y": ("1", "1"), "z": ("1", "1")},
        {"x": ("2", "2"), "y": ("1", "1"), "z": ("2", "2")},
    ]

    found = list(differences(given, NODES[:2]))

    assert ["x differs", "z differs"] == [text.partition(":")[0] for text in found]


def test_a_text_is_compared_as_it_is():
    given = [{"shape": "(2,)"}, {"shape": "(3,)"}, {"shape": "(2,)"}]

    assert [
        "shape differs: (3,) on rank 1 on node1; (2,) on ranks 0, 2 (node1, node2)"
    ] == list(differences(given, NODES[:3]))
