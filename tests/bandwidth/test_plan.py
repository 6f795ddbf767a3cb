"""The command line of diag/bandwidth.py: what is measured by default, and what is rejected."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import SRC

from jaxsif.bandwidth.plan import Series, parse_plan, sizes_between
from jaxsif.core.errors import UsageError


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


def test_cpu_devices_get_less_time_unless_somebody_says():
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
