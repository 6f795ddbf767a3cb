"""Expected values: the table with its sources, and the formula for other hardware."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

import pytest
from checkout import ROOT
from msgspec.structs import replace
from sample_measurements import GIB, H100, by_rank, card, fabrics

from jaxsif.bandwidth import hardware
from jaxsif.bandwidth.collectives import COLLECTIVES
from jaxsif.core.topology import parse_topology

EIGHT_CARDS = [card(n) for n in range(8)]
PAGE = ROOT / "docs/hardware.md"


def expected(label: str, collective: str = "all-reduce", size: int = GIB, **node):
    topology = parse_topology(label)
    records = by_rank(fabrics(topology, **node))
    return hardware.expected(collective, size, topology, hardware.nodes(records))


@pytest.mark.parametrize(
    ("label", "gpu", "cards", "collective", "size", "value"),
    [
        ("G8N1p8", "NVIDIA A100-SXM4-80GB", [], "all-reduce", GIB, 232.5),
        ("G8N1p8", H100, [], "all-reduce", GIB, 480),
        ("G8N1p8", H100, [], "all-gather", GIB, 370),
        ("G8N1p8", "NVIDIA H200", [], "all-reduce", 2**26, 370),
        ("G8N1p8", "NVIDIA H200", [], "all-reduce", GIB, 464),
        ("G16N2p16", H100, EIGHT_CARDS, "all-reduce", GIB, 440),
        ("G64N8p64", H100, EIGHT_CARDS, "all-reduce", GIB, 383),
        ("G64N8p64", "NVIDIA B200", EIGHT_CARDS, "all-reduce", GIB, 376.7),
        (
            "G8N2p8",
            "NVIDIA A100-SXM4-40GB",
            [card(n, 25.0) for n in range(2)],
            "all-reduce",
            GIB,
            43.3,
        ),
    ],
)
def test_known_hardware_has_its_value(label, gpu, cards, collective, size, value):
    gpus = parse_topology(label).devices_per_node

    found = expected(label, collective, size, gpu=gpu, gpus=gpus, cards=cards)

    assert value == found.gb_per_s
    assert "no published value" not in found.source


def test_a_name_within_a_name_is_not_meant():
    """GH200 holds H200, GB200 holds B200."""
    for gpu in ("NVIDIA GH200 120GB", "NVIDIA GB200"):
        found = expected("G8N1p8", gpu=gpu, gpus=8)

        assert "no published value" in found.source


@pytest.mark.parametrize(
    ("label", "node", "value"),
    [
        # NVLink alone, the cards alone, and whichever is less.
        ("G4N1p4", {"gpu": "X", "nvlink": 300.0}, 240.0),
        ("G8N2p8", {"gpu": "X", "nvlink": 300.0}, 180.0),
        ("G8N2p8", {"gpu": "X", "nvlink": 100.0}, 80.0),
        # One GPU a node needs no NVLink, and gets one card of four.
        ("G2N2p2", {"gpu": "X", "nvlink": None}, 45.0),
    ],
)
def test_unknown_hardware_is_as_fast_as_its_slowest_link(label, node, value):
    found = expected(label, **node)

    assert value == pytest.approx(found.gb_per_s)
    assert found.source.startswith("no published value, computed: 0.")


@pytest.mark.parametrize(
    ("label", "collective", "size", "node"),
    [
        ("G8N2p8", "all-reduce", GIB, {"gpu": None, "gpus": 0}),
        ("G4N1p4", "all-reduce", GIB, {"gpu": "X", "nvlink": None}),
        ("G8N2p8", "all-reduce", GIB, {"gpu": "X", "cards": []}),
        ("G8N2p8", "all-to-all", GIB, {"gpu": "X"}),
        ("G8N2p8", "all-reduce", 2**20, {"gpu": "X"}),
    ],
)
def test_nothing_is_expected_without_a_published_value_or_rule(
    label, collective, size, node
):
    assert expected(label, collective, size, **node) is None


def test_nodes_of_two_kinds_have_no_expected_value():
    topology = parse_topology("G8N2p8")
    first, second = fabrics(topology)
    second = replace(second, gpu="NVIDIA A100")
    found = hardware.nodes(by_rank([first, second]))

    assert hardware.expected("all-reduce", GIB, topology, found) is None


def test_without_a_nodes_record_nothing_is_expected():
    topology = parse_topology("G8N2p8")
    found = hardware.nodes(by_rank(fabrics(topology)[:1]))

    assert hardware.expected("all-reduce", GIB, topology, found) is None


def test_a_node_that_lost_a_card_is_measured_by_the_others():
    lost = [card(0), card(1), card(2), card(3, is_active=False)]

    assert 180.0 == expected("G8N2p8", gpu="X", node2=lost).gb_per_s


def test_cards_for_storage_and_logins_do_not_count():
    cards = [
        *(card(n) for n in range(5)),
        card(7, 3.125, "ethernet"),
        card(8, 12.5),
    ]

    assert 180.0 == expected("G8N2p8", gpu="X", cards=cards).gb_per_s


def test_hardware_keeps_its_name_when_a_card_fails():
    topology = parse_topology("G8N2p8")
    lost = [card(n, is_active=n < 3) for n in range(4)]
    all_down = [card(n, is_active=False) for n in range(4)]

    names = {
        hardware.hardware_name(hardware.nodes(by_rank(records)))
        for records in (
            fabrics(topology),
            fabrics(topology, node2=lost),
            fabrics(topology, cards=all_down),
        )
    }

    assert {"NVIDIA H100 80GB HBM3, infiniband"} == names


def test_every_value_has_a_source_and_a_row_on_the_page():
    table = hardware.table()
    page = PAGE.read_text()

    assert len(table.known) > 15
    for value in table.known:
        assert value.source and set(value.collectives) <= set(COLLECTIVES)
        row = (
            rf"\| {value.gpus_per_node} x {re.escape(value.gpu)} \|.*"
            rf"\| {value.bus_gb_per_s:g} \|"
        )
        assert re.search(row, page), value
