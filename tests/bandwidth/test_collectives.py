"""nccl-tests' formulae: the size S of each collective, algbw, busbw; sizes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.bandwidth.collectives import (
    COLLECTIVES,
    Buffers,
    algorithm_gb_per_s,
    buffers,
    bus_factor,
    bus_gb_per_s,
    interquartile,
    mean_over_ranks,
    parse_size,
)
from jaxsif.core.errors import UsageError

MIB = 2**20


@pytest.mark.parametrize(
    ("collective", "expected"),
    [
        # S of all-reduce, broadcast and send-recv is what each device has.
        ("all-reduce", Buffers(MIB, MIB // 4, MIB // 4, MIB // 4)),
        ("broadcast", Buffers(MIB, MIB // 4, MIB // 4, MIB // 4)),
        ("send-recv", Buffers(MIB, MIB // 4, MIB // 4, MIB // 4)),
        # S is the total of all parts; the column count is that of a part.
        ("all-gather", Buffers(MIB, MIB // 32, MIB // 32, MIB // 4)),
        ("reduce-scatter", Buffers(MIB, MIB // 32, MIB // 4, MIB // 32)),
        ("all-to-all", Buffers(MIB, MIB // 32, MIB // 4, MIB // 4)),
    ],
)
def test_a_size_is_what_nccl_tests_means_by_it(collective, expected):
    assert expected == buffers(collective, "f32", MIB, 8)


def test_a_size_that_does_not_divide_is_rounded_down():
    assert Buffers(996, 83, 83, 249) == buffers("all-gather", "f32", 1000, 3)
    assert Buffers(1000, 250, 250, 250) == buffers("all-reduce", "f32", 1002, 3)


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_the_smallest_size_leaves_no_device_without_an_element(collective):
    smallest = buffers(collective, "f32", 1, 8)

    assert min(smallest.count, smallest.sent, smallest.received) == 1


def test_two_bytes_each_are_twice_as_many_elements():
    assert MIB // 2 == buffers("all-reduce", "bf16", MIB, 8).count


@pytest.mark.parametrize(
    ("collective", "two", "eight"),
    [
        ("all-reduce", 1.0, 1.75),
        ("all-gather", 0.5, 0.875),
        ("reduce-scatter", 0.5, 0.875),
        ("all-to-all", 0.5, 0.875),
        ("broadcast", 1.0, 1.0),
        ("send-recv", 1.0, 1.0),
    ],
)
def test_the_factor_is_that_of_the_links(collective, two, eight):
    assert two == bus_factor(collective, 2)
    assert eight == bus_factor(collective, 8)


@pytest.mark.parametrize(
    ("size_bytes", "time_us", "algorithm", "bus"),
    [
        # Rows of nccl-tests' own output for 8 GPUs.
        (4294967296, 17437, 246.31, 431.05),
        (17179869184, 127660, 134.58, 235.51),
    ],
)
def test_speeds_are_those_that_nccl_tests_prints(size_bytes, time_us, algorithm, bus):
    assert algorithm == pytest.approx(algorithm_gb_per_s(size_bytes, time_us), abs=0.01)
    assert bus == pytest.approx(
        bus_gb_per_s("all-reduce", size_bytes, time_us, 8), abs=0.01
    )


def test_one_device_has_no_bus():
    assert 0.0 == bus_gb_per_s("all-reduce", MIB, 10.0, 1)


def test_a_trial_takes_the_mean_of_the_ranks():
    assert [2.0, 3.0] == mean_over_ranks([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("values", "expected"), [([5.0], 0.0), ([1, 2, 3, 4, 5], 2.0), ([7, 7, 7], 0.0)]
)
def test_the_spread_is_that_of_the_middle_half(values, expected):
    assert expected == interquartile(values)


@pytest.mark.parametrize(
    ("text", "expected"), [("8", 8), ("64k", 65536), ("16M", 16 * MIB), ("1G", 2**30)]
)
def test_sizes_are_read_as_nccl_tests_takes_them(text, expected):
    assert expected == parse_size(text)


@pytest.mark.parametrize("text", ["", "0", "M", "-8", "1.5G", "8B", "1T"])
def test_what_is_no_size_is_refused_with_examples(text):
    with pytest.raises(UsageError, match=f"'{text}' is no size; write 8, 64K"):
        parse_size(text)
