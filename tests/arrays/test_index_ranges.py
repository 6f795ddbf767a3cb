"""Parts of arrays as index ranges: conversion, union, owners, text."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.arrays.index_ranges import (
    bounding_range,
    coalesce,
    describe_ownership,
    extents,
    format_range,
    from_index,
    is_contiguous,
    owners,
    to_index,
    volume,
)

UPPER, LOWER = ((0, 2), (0, 4)), ((2, 4), (0, 4))


@pytest.mark.parametrize(
    ("index", "shape", "part"),
    [
        ((slice(None), slice(2, 4)), (8, 4), ((0, 8), (2, 4))),
        ((slice(0, 2),), (8,), ((0, 2),)),
        ((slice(None),), (0,), ((0, 0),)),
        ((), (), ()),
    ],
)
def test_a_shards_index_becomes_a_range(index, shape, part):
    assert part == from_index(index, shape)


def test_an_index_of_another_number_of_dimensions_is_refused():
    with pytest.raises(ValueError):
        from_index((slice(None),), (8, 4))


def test_an_index_counts_from_an_origin():
    assert (slice(2, 4), slice(0, 4)) == to_index(LOWER)
    assert (slice(0, 2), slice(0, 4)) == to_index(LOWER, [2, 0])


def test_extents_and_volume_and_a_scalars_volume_is_1():
    assert (2, 4) == extents(LOWER)
    assert 8 == volume(LOWER)
    assert 1 == volume(())


@pytest.mark.parametrize(
    ("parts", "is_one"),
    [
        ([UPPER, LOWER], True),
        ([UPPER, UPPER], True),
        ([UPPER], True),
        ([UPPER, ((4, 6), (0, 4))], False),
        ([((0, 2), (0, 2)), ((2, 4), (2, 4))], False),
        ([()], True),
    ],
)
def test_parts_are_contiguous_if_they_leave_no_hole(parts, is_one):
    assert is_one == is_contiguous(parts)


def test_the_bounding_range_contains_all_parts():
    assert ((0, 6), (0, 4)) == bounding_range([UPPER, ((4, 6), (0, 2))])


def test_contiguous_parts_are_coalesced():
    corners = [((0, 2), (0, 2)), ((2, 4), (2, 4))]

    assert [((0, 4), (0, 4))] == coalesce([LOWER, UPPER, UPPER])
    assert corners == coalesce([*reversed(corners), corners[0]])
    assert [] == coalesce([])


def test_the_lowest_process_owns_a_part():
    held = {0: [UPPER], 1: [UPPER, LOWER], 2: [LOWER]}

    assert {UPPER: 0, LOWER: 1} == owners(held)
    assert [UPPER, LOWER] == list(owners(held))


def test_a_range_is_formatted_as_in_python():
    assert "[0:2, 0:4]" == format_range(UPPER)
    assert "all of it" == format_range(())


def test_each_rank_has_its_line():
    lines = describe_ownership({0: [((0, 1),), ((1, 2),)], 1: [((2, 3),), ((3, 4),)]})

    assert ["rank 0 holds [0:2]", "rank 1 holds [2:4]"] == list(lines)


def test_what_all_hold_is_one_line():
    assert ["each of 2 ranks holds [0:4]"] == list(
        describe_ownership({0: [((0, 4),)], 1: [((0, 4),)]})
    )


def test_of_many_ranks_and_parts_the_first_are_shown():
    lines = list(
        describe_ownership({rank: [((rank, rank + 1),)] for rank in range(20)})
    )
    scattered = list(
        describe_ownership({0: [((2 * i, 2 * i + 1),) for i in range(10)]})
    )

    assert "... and 12 more ranks" == lines[-1]
    assert 9 == len(lines)
    assert scattered[0].endswith("[14:15] and 2 more")
