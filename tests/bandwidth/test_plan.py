"""The bandwidth test's command line, its plan, and its time budget."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import SRC

from jaxsif.bandwidth.plan import Series, TimeBudget, parse_plan, sizes_between
from jaxsif.core.errors import UsageError

MIB = 2**20


def test_all_sizes_of_all_reduce_come_first_and_few_of_the_others():
    first, *others = parse_plan([]).series

    assert ("all-reduce", "f32", 8, 2**30) == (
        first.collective,
        first.dtype,
        first.sizes[0],
        first.sizes[-1],
    )
    assert 15 == len(first.sizes)
    assert {
        ("all-reduce", "bf16"),
        ("all-reduce", "i32"),
        ("all-gather", "f32"),
        ("reduce-scatter", "f32"),
        ("all-to-all", "f32"),
        ("broadcast", "f32"),
        ("send-recv", "f32"),
    } == {(each.collective, each.dtype) for each in others}
    assert {(2**20, 2**24, 2**28)} == {each.sizes for each in others}


def test_what_is_chosen_is_measured_at_all_sizes():
    plan = parse_plan(
        ["--collectives=all-gather", "--dtypes=bf16,i32", "--max-size=64", "--factor=2"]
    )

    assert plan.series == (
        Series("all-gather", "bf16", (8, 16, 32, 64)),
        Series("all-gather", "i32", (8, 16, 32, 64)),
    )


@pytest.mark.parametrize(
    ("smallest", "largest", "factor", "expected"),
    [(8, 8, 4, (8,)), (8, 100, 4, (8, 25, 100)), (1, 64, 8, (1, 8, 64))],
)
def test_the_largest_size_and_the_smallest_are_always_there(
    smallest, largest, factor, expected
):
    assert expected == sizes_between(smallest, largest, factor)


def test_a_small_largest_size_is_the_size_of_the_others():
    *_, last = parse_plan(["--max-size=4K"]).series

    assert (4096,) == last.sizes


def test_cpu_devices_get_less_time_by_default():
    assert (120.0, 30.0) == tuple(map(parse_plan([]).time_budget_s, ("gpu", "cpu")))
    assert 5.0 == parse_plan(["--time-budget=5"]).time_budget_s("gpu")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--collectives=allreduce"],
            "no collective 'allreduce'; there are all-reduce,",
        ),
        (["--dtypes=f64"], "no type 'f64'; there are f32, bf16, i32"),
        (["--max-size=8G"], "sizes from 8 to 8G: .* 4G is the most"),
        (["--min-size=2M", "--max-size=1M"], "the first must not be the larger"),
        (["--factor=1"], "--factor is 1, expected 2 or more"),
        (["--trials=3"], "--trials is 3, expected 5 or more"),
        (["--sizes=3"], "bandwidth.py: unrecognized arguments: --sizes=3; see --help"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, complaint):
    with pytest.raises(UsageError, match=complaint):
        parse_plan(arguments)


def test_help_ends_at_once_and_well():
    program = "from jaxsif.bandwidth.plan import parse_plan; parse_plan(['--help'])"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
    )

    assert (0, True) == (done.returncode, "--time-budget SECONDS" in done.stdout)


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
