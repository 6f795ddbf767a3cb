"""Slurm's compressed node lists."""
# SPDX-License-Identifier: Apache-2.0

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsif.contract.hostlist import expand


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
