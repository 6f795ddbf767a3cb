"""What users read is short, counted and harmless."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.core import text


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 nodes"), (1, "1 node"), (1024, "1,024 nodes")]
)
def test_a_noun_is_counted(count, expected):
    assert expected == text.plural(count, "node")


def test_a_plural_may_have_another_ending():
    assert "2 processes" == text.plural(2, "process", "es")


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (0, "", ""),
        (2, "", "n0, n1"),
        (4, "", "n0, n1 and 2 more"),
        (3, "node", "n0, n1 and 1 more node"),
        (4, "node", "n0, n1 and 2 more nodes"),
    ],
)
def test_of_many_names_the_first_are_listed(count, noun, expected):
    assert expected == text.listed((f"n{i}" for i in range(count)), 2, noun)


def test_only_a_shortened_list_has_a_last_line():
    assert ["... and 1 more rank"] == text.not_shown(3, 4, "rank")
    assert [] == text.not_shown(5, 4, "rank")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([3], "rank 3"),
        ([2, 0, 2], "ranks 0, 2"),
        (range(100), "ranks 0-99"),
        (range(0, 20, 2), "ranks 0, 2, 4, 6, 8, 10, 12, 14, ..."),
    ],
)
def test_ranks_are_ranges(numbers, expected):
    assert expected == text.format_ranks(numbers)


@pytest.mark.parametrize(
    ("placed", "expected"),
    [
        ([(5, "n2")], "rank 5 on n2"),
        (
            [(r, "n1" if r < 4 else "n2") for r in range(8)],
            "ranks 0-3 on n1, 4-7 on n2",
        ),
        ([(0, ""), (1, "")], "ranks 0-1"),
        (
            [(r, f"n{r}") for r in range(4)],
            "ranks 0 on n0, 1 on n1 and 2 more nodes",
        ),
    ],
)
def test_ranks_are_grouped_by_node(placed, expected):
    assert expected == text.format_ranks_and_nodes(placed, limit=2)


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (8, "8 B"),
        (1000, "1000 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        (10_000_000, "9.537 MiB"),
        (1 << 30, "1 GiB"),
    ],
)
def test_sizes_are_in_the_largest_unit_that_fits(size_bytes, expected):
    assert expected == text.format_size(size_bytes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (0.31, "0.310"),
        (0.0004, "0.0004"),
        (5.2345e-06, "5.23e-06"),
    ],
)
def test_numbers_have_three_digits_that_mean_something(value, expected):
    assert expected == text.format_significant(value)


def test_times_are_in_utc():
    assert "1970-01-02 00:00:01 UTC" == text.format_time(86401)


def test_columns_are_aligned():
    rows = [("a", "bb", ""), ("ccc", "d", "e")]

    assert ["a    bb", "ccc  d   e"] == text.format_table(rows)
    assert ["  a  bb", "ccc   d  e"] == text.format_table(rows, ">><")


def test_a_long_value_is_cut_and_quoted():
    assert "'abc'" == text.quoted("abc")
    assert 82 == len(text.quoted(1000 * "x"))
    assert text.quoted(1000 * "x").endswith("...'")


def test_a_control_character_is_replaced():
    assert "a\N{REPLACEMENT CHARACTER}[31mb" == text.printable("a\x1b[31mb")
