"""Selecting sizes by time: large ones matter most; none starts that cannot finish."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.bandwidth.time_budget import TimeBudget

MIB = 2**20


def pace(**changes) -> TimeBudget:
    facts = {
        "limit_s": 20.0,
        "spent_s": 0.0,
        "trials": 5,
        "size_bytes": MIB,
        "setup_cost_s": 0.5,
        "time_us": 1000.0,
    }
    return TimeBudget(**{**facts, **changes})


def test_with_time_enough_every_size_is_measured():
    assert 0 == pace().next_size([2 * MIB, 4 * MIB, 8 * MIB])


def test_sizes_are_left_out_where_each_takes_long():
    small = [2**n for n in range(4, 24, 2)]

    assert 2 == pace(size_bytes=8, setup_cost_s=5.0, time_us=20.0).next_size(small)


def test_the_last_size_is_not_jumped_over():
    assert 0 == pace(setup_cost_s=9.0, spent_s=2.0).next_size([2 * MIB])


def test_no_size_is_begun_that_cannot_end_in_time():
    assert pace(time_us=1e6).next_size([2 * MIB]) is None
    assert pace(spent_s=20.0).next_size([2 * MIB]) is None
    assert pace(spent_s=21.0).next_size([2 * MIB]) is None


def test_of_sizes_that_take_too_long_the_largest_possible_is_next():
    sizes = [2 * MIB, 4 * MIB, 2**10 * MIB]

    # Three sizes of 6 s do not fit, and the third would take 18 s and more.
    assert 1 == pace(setup_cost_s=12.0).next_size(sizes)


def test_a_size_takes_longer_in_proportion():
    assert 0.572 == pytest.approx(pace().expected_s(4 * MIB))
