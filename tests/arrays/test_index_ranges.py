"""Boxes: which part of an array is where."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.arrays.index_ranges import (
    as_index,
    extents,
    hull,
    in_words,
    index_range,
    is_contiguous,
    merged,
    owners,
    volume,
)

UPPER, LOWER = ((0, 2), (0, 4)), ((2, 4), (0, 4))


@pytest.mark.parametrize(
    ("index", "shape", "box"),
    [
        ((slice(None), slice(2, 4)), (8, 4), ((0, 8), (2, 4))),
        ((slice(0, 2),), (8,), ((0, 2),)),
        ((slice(None),), (0,), ((0, 0),)),
        ((), (), ()),
    ],
)
def test_a_shards_index_is_a_box(index, shape, box):
    assert box == index_range(index, shape)


def test_an_index_of_another_number_of_dimensions_is_refused():
    with pytest.raises(ValueError):
        index_range((slice(None),), (8, 4))


def test_an_index_counts_from_an_origin():
    assert (slice(2, 4), slice(0, 4)) == as_index(LOWER)
    assert (slice(0, 2), slice(0, 4)) == as_index(LOWER, [2, 0])


def test_a_box_has_extents_and_volume_and_a_scalars_has_one():
    assert (2, 4) == extents(LOWER)
    assert 8 == volume(LOWER)
    assert 1 == volume(())


@pytest.mark.parametrize(
    ("boxes", "is_one"),
    [
        ([UPPER, LOWER], True),
        ([UPPER, UPPER], True),
        ([UPPER], True),
        ([UPPER, ((4, 6), (0, 4))], False),
        ([((0, 2), (0, 2)), ((2, 4), (2, 4))], False),
        ([()], True),
    ],
)
def test_boxes_are_one_when_they_leave_no_hole(boxes, is_one):
    assert is_one == is_contiguous(boxes)


def test_the_hull_is_around_all():
    assert ((0, 6), (0, 4)) == hull([UPPER, ((4, 6), (0, 2))])


def test_boxes_that_fill_one_are_merged_and_others_stay():
    corners = [((0, 2), (0, 2)), ((2, 4), (2, 4))]

    assert [((0, 4), (0, 4))] == merged([LOWER, UPPER, UPPER])
    assert corners == merged([*reversed(corners), corners[0]])
    assert [] == merged([])


def test_the_lowest_process_stands_for_a_box_that_several_hold():
    held = {0: [UPPER], 1: [UPPER, LOWER], 2: [LOWER]}

    assert {UPPER: 0, LOWER: 1} == owners(held)
    assert [UPPER, LOWER] == list(owners(held))


def test_a_box_is_written_as_in_python():
    assert "[0:2, 0:4]" == in_words(UPPER)
    assert "all of it" == in_words(())
