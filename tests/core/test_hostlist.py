"""Slurm's compressed node lists."""
# SPDX-License-Identifier: Apache-2.0

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsif.core.hostlist import expand


@pytest.mark.parametrize(
    ("node_list", "nodes"),
    [
        ("", []),
        ("node1", ["node1"]),
        ("node[1-2]", ["node1", "node2"]),
        ("node[001-003],x", ["node001", "node002", "node003", "x"]),
        ("gpu[01-02]-ib", ["gpu01-ib", "gpu02-ib"]),
        ("gpu107-[08-09]-r", ["gpu107-08-r", "gpu107-09-r"]),
        ("n[1-2]r[03,05]", ["n1r03", "n1r05", "n2r03", "n2r05"]),
        ("node[01]", ["node01"]),
        ("a[9-11],b", ["a9", "a10", "a11", "b"]),
        ("cn509-02-l,cn509-07-r", ["cn509-02-l", "cn509-07-r"]),
    ],
)
def test_a_node_list_is_spelled_out_in_order(node_list, nodes):
    assert nodes == expand(node_list)


@pytest.mark.parametrize(
    "node_list", ["node[1-", "node[a-b]", "n1-2]", "n[1-99999999]"]
)
def test_what_is_no_node_list_is_refused(node_list):
    with pytest.raises(ValueError, match="node"):
        expand(node_list)


@given(st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)))
def test_plain_names_come_back_as_they_are(names):
    assert names == expand(",".join(names))


@pytest.mark.parametrize(
    "node_list",
    [
        "n[0-999][0-999][0-99]",
        "n[" + ",".join(["0-99999"] * 200) + "]",
        ",".join(["n[0-99999]"] * 4),
        f"n{'9' * 5000}[1-2]",
        f"n[0-{'9' * 5000}]",
        f"n[{'0' * 5000}1]",
        "n" + "[0-9]" * 1000,
        "[" * 100_000,
        f"{'x' * 200_000}[1-200000]",
        "n[3-1]",
    ],
)
def test_a_list_of_more_than_anyone_has_is_refused_before_it_is_made(node_list):
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"name|brackets|range"):
        expand(node_list)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 40 << 20


def test_the_caller_can_ask_for_fewer():
    assert len(expand("n[1-8]", most=8)) == 8
    with pytest.raises(ValueError, match="too many"):
        expand("n[1-4],m[1-5]", most=8)


@given(st.text(alphabet="n[]-,0129", max_size=40))
def test_any_text_is_spelled_out_or_refused(node_list):
    try:
        names = expand(node_list, most=1000)
    except ValueError:
        return
    assert len(names) <= 1000
