"""Topologies: what a label means and which are refused."""
# SPDX-License-Identifier: Apache-2.0

import pytest

from jaxsif.core.errors import UsageError
from jaxsif.core.topology import Topology, parse_topology


@pytest.mark.parametrize(
    ("label", "nodes", "processes_per_node", "devices_per_process"),
    [
        ("G4N1p4", 1, 4, 1),
        ("G4N2p2", 2, 1, 2),
        ("G4N2p4", 2, 2, 1),
        ("G8N2p8", 2, 4, 1),
        ("G1N1p1", 1, 1, 1),
        ("G4096N512p4096", 512, 8, 1),
    ],
)
def test_a_label_gives_three_numbers_and_back(
    label, nodes, processes_per_node, devices_per_process
):
    topology = parse_topology(label)

    assert Topology(nodes, processes_per_node, devices_per_process) == topology
    assert label == topology.label


@pytest.mark.parametrize(
    "label",
    ["", "8", "G8", "g8n2p8", "G8N2p8 ", "G0N1p1", "G8N2p-8", "G\uff18N2p8", "x"],
)
def test_what_is_no_label_is_answered_with_an_example(label):
    with pytest.raises(UsageError, match="write it as G8N2p4"):
        parse_topology(label)


def test_processes_that_do_not_divide_show_the_arithmetic():
    with pytest.raises(UsageError, match=r"8 / 3 = 2\.66667"):
        parse_topology("G8N3p8")


def test_devices_that_do_not_divide_show_the_arithmetic():
    with pytest.raises(UsageError, match=r"6 / 4 = 1\.5"):
        parse_topology("G6N2p4")


def test_ranks_fill_one_node_after_the_other():
    topology = parse_topology("G8N2p8")

    assert [topology.node_index(rank) for rank in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "label", [f"G{'9' * 5000}N1p1", "G99999999N1p1", "G300000N1p300000"]
)
def test_more_than_any_machine_has_is_refused(label):
    with pytest.raises(UsageError, match="impossible topology") as refused:
        parse_topology(label)

    assert len(str(refused.value)) < 400
