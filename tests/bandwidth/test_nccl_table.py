"""The table of rank 0, parsed with the patterns of scripts for nccl-tests."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

import pytest

from jaxsif.bandwidth import nccl_table
from jaxsif.bandwidth.nccl_table import TableRow

# As src/util.cu of nccl-tests writes it, but for the columns of in-place.
FROM_NCCL_TESTS = """\
#
#                                                              out-of-place
#       size         count      type   redop    root     time   algbw   busbw  #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)
     1048576        262144     float     sum      -1    41.82   25.07   43.88       0
    16777216       4194304     float     sum      -1  4444.45    3.77    6.61       0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 25.2424 
"""
ROWS = [
    TableRow("all-reduce", "f32", 2**20, 2**18, 41.82, 0, 8),
    TableRow("all-reduce", "f32", 2**24, 2**22, 4444.45, 0, 8),
]

# What ReFrame's checks and people's scripts look for.
LINE = re.compile(
    r"^\s*(?P<size>\d+)\s+(?P<count>\d+)\s+(?P<type>\w+)\s+(?P<redop>\w+)\s+(?P<root>-?\d+)"
    r"\s+(?P<time>[\d.]+)\s+(?P<algbw>[\d.]+)\s+(?P<busbw>[\d.]+)\s+(?P<wrong>\d+|N/A)",
    re.M,
)
AVERAGE = re.compile(r"^# Avg bus bandwidth\s*:\s*([\d.]+)", re.M)
BOUNDS = re.compile(r"^# Out of bounds values\s*:\s*(\d+)\s+(OK|FAILED)", re.M)


def printed(rows: list[TableRow]) -> str:
    lines = [
        *nccl_table.header("all-reduce", "f32"),
        *(row.text() for row in rows),
        *nccl_table.footer(rows, "all-reduce"),
    ]
    return "\n".join(lines) + "\n"


def test_it_is_nccl_tests_table():
    text = printed(ROWS)

    kept = [x for x in text.splitlines() if "ollective test" not in x]
    kept = [x for x in kept if "largest size" not in x]
    assert FROM_NCCL_TESTS.splitlines() == kept[1:-1]


def test_scripts_find_their_values():
    found = LINE.search(printed(ROWS[:1]))

    assert {
        "size": "1048576",
        "count": "262144",
        "type": "float",
        "redop": "sum",
        "root": "-1",
        "time": "41.82",
        "algbw": "25.07",
        "busbw": "43.88",
        "wrong": "0",
    } == found.groupdict()
    assert ["43.8787"] == AVERAGE.findall(printed(ROWS[:1]))
    assert [("0", "OK")] == BOUNDS.findall(printed(ROWS))


def test_awk_finds_the_bus_bandwidth_in_the_eighth_column():
    rows = [x.split() for x in printed(ROWS).splitlines() if not x.startswith("#")]

    assert ["43.88", "6.61"] == [row[7] for row in rows]


def test_wrong_elements_are_counted_and_fail():
    text = printed([TableRow("all-reduce", "f32", 2**20, 2**18, 41.82, 12, 8)])

    assert "12" == LINE.search(text)["wrong"]
    assert [("1", "FAILED")] == BOUNDS.findall(text)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            TableRow("all-gather", "bf16", 2**20, 2**16, 9.0, 0, 8),
            ["bfloat16", "none", "-1"],
        ),
        (TableRow("broadcast", "i32", 2**20, 2**18, 9.0, 0, 8), ["int32", "none", "0"]),
        (TableRow("send-recv", "f32", 2**20, 2**18, 9.0, 0, 8), ["float", "sum", "-1"]),
    ],
)
def test_type_operation_and_root_are_named_as_there(row, words):
    assert words == row.text().split()[2:5]


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (8.5, "   8.50"),
        (4444.45, "4444.45"),
        (18042.82, "18042.8"),
        (1234567.8, "1234568"),
        (12345678.9, "1.2e+07"),
    ],
)
def test_long_times_lose_decimals_not_columns(time_us, text):
    row = TableRow("all-reduce", "f32", 2**20, 2**18, time_us, 0, 8).text()

    assert text == row[54:61]


def test_the_largest_size_is_shown_with_its_spread():
    row = TableRow("all-reduce", "f32", 2**20, 2**18, 41.82, 0, 8, 0.042)

    (line,) = (x for x in nccl_table.footer([row], "all-reduce") if "largest" in x)

    assert (
        "# At the largest size  : 43.88 GB/s busbw, 1 MiB, the middle half of the"
        " trials within 4 %" == line
    )


def test_a_test_without_a_row_has_no_footer():
    assert [] == nccl_table.footer([], "broadcast")
