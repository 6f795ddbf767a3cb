"""What is told of arrays and programs that are spread over processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.arrays.wording import differences, format_problems, holdings

NODES = ["node1", "node1", "node2", "node2"]


def words(*values: str, name: str = "rate") -> list[dict[str, tuple[str, str]]]:
    return [{name: (f"digest of {value}", value)} for value in values]


@pytest.mark.parametrize(
    ("problems", "sentence"),
    [
        (["", "", ""], ""),
        (["", "node1: full", ""], "rank 1 on node1: full"),
        (["node1: full", "", "node2: x"], "rank 0 on node1: full (and 1 more rank)"),
        (["a: b"] * 3, "rank 0 on a: b (and 2 more ranks)"),
    ],
)
def test_the_first_problem_is_shown_and_the_others_counted(problems, sentence):
    assert sentence == format_problems(problems)


def test_each_rank_has_its_line():
    lines = holdings({0: [((0, 1),), ((1, 2),)], 1: [((2, 3),), ((3, 4),)]})

    assert ["rank 0 holds [0:2]", "rank 1 holds [2:4]"] == list(lines)


def test_what_all_hold_is_one_line():
    assert ["each of 2 ranks holds [0:4]"] == list(
        holdings({0: [((0, 4),)], 1: [((0, 4),)]})
    )


def test_of_many_ranks_and_parts_the_first_are_shown():
    lines = list(holdings({rank: [((rank, rank + 1),)] for rank in range(20)}))
    scattered = list(holdings({0: [((2 * i, 2 * i + 1),) for i in range(10)]}))

    assert "... and 12 more ranks" == lines[-1]
    assert 9 == len(lines)
    assert scattered[0].endswith("[14:15] and 2 more")


def test_equal_values_are_not_reported():
    assert [] == list(differences(words("1", "1", "1", "1"), NODES))


def test_the_rank_that_differs_is_named_first_with_its_node_and_value():
    assert [
        "rate differs: 2 on rank 3 on node2; 1 on ranks 0-2 (node1, node2)"
    ] == list(differences(words("1", "1", "1", "2"), NODES))


def test_what_only_one_has_given_differs():
    said = [*words("1"), {}, {}, {}]

    assert [
        "rate differs: 1 on rank 0 on node1; not given on ranks 1-3 (node1, node2)"
    ] == list(differences(said, NODES))


def test_values_that_only_look_alike_differ():
    said = [{"x": ("a", "long...")}, {"x": ("b", "long...")}]

    assert 1 == len(list(differences(said, NODES[:2])))


def test_every_thing_that_differs_has_its_sentence():
    said = [
        {"x": ("1", "1"), "y": ("1", "1"), "z": ("1", "1")},
        {"x": ("2", "2"), "y": ("1", "1"), "z": ("2", "2")},
    ]

    found = list(differences(said, NODES[:2]))

    assert ["x differs", "z differs"] == [text.partition(":")[0] for text in found]
