"""NCCL's own report: every file of tests/nccl gives the expected fields and text."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from checkout import TESTS
from hypothesis import given
from hypothesis import strategies as st

from jaxsif.transport.model import from_nccl
from jaxsif.transport.nccl_log import read_report, warnings

FOLDER = TESTS / "nccl"

# file -> words, kind, number of cards or interfaces, GPUDirect, the way within the node
EXPECTED = {
    "infiniband-8-h100-2.27": (
        "NVLink, InfiniBand x8, GPUDirect",
        ("infiniband", 8, True, "nvlink"),
    ),
    "infiniband-4-a100-2.18": (
        "NVLink, InfiniBand x2, GPUDirect",
        ("infiniband", 2, True, "nvlink"),
    ),
    "infiniband-4-b200-2.32": (
        "NVLink, InfiniBand x4, GPUDirect",
        ("infiniband", 4, True, "nvlink"),
    ),
    "infiniband-without-gpudirect-2.21": (
        "InfiniBand x1",
        ("infiniband", 1, False, None),
    ),
    "infiniband-through-other-gpus-2.27": (
        "NVLink, InfiniBand x2, GPUDirect",
        ("infiniband", 2, True, "nvlink"),
    ),
    "infiniband-hpcx-plugin-2.20": (
        "NVLink, InfiniBand x4, GPUDirect",
        ("infiniband", 4, True, "nvlink"),
    ),
    "infiniband-merged-cards-2.22": (
        "InfiniBand x4, GPUDirect",
        ("infiniband", 4, True, None),
    ),
    "roce-2-without-gpudirect-2.28": ("RoCE x2", ("roce", 2, False, None)),
    "sockets-without-libibverbs-2.23": (
        "NVLink, sockets on eth0",
        ("sockets", 1, None, "nvlink"),
    ),
    "sockets-verbs-too-old-2.32": ("sockets on ens3", ("sockets", 1, None, None)),
    "sockets-no-device-2.27": ("sockets on eth0", ("sockets", 1, None, None)),
    "sockets-infiniband-disabled-2.28": (
        "sockets on hsn0, hsn1",
        ("sockets", 2, None, None),
    ),
    "slingshot-4-2.18": (
        "NVLink, Slingshot x4, GPUDirect",
        ("slingshot", 4, True, "nvlink"),
    ),
    "libfabric-over-tcp-2.28": ("libfabric's tcp x1", ("libfabric", 1, False, None)),
    "efa-32-2.27": ("NVLink, EFA x32, GPUDirect", ("efa", 32, True, "nvlink")),
    "one-node-nvlink-2.23": ("NVLink", ("nvlink", 0, None, "nvlink")),
    "one-node-shared-memory-2.27": (
        "shared memory",
        ("shared-memory", 0, None, "shared-memory"),
    ),
    "one-node-pcie-2.19": ("PCIe between GPUs", ("pcie", 0, None, "pcie")),
    "nvlink-between-nodes-2.28": (
        "NVLink, NVLink between nodes",
        ("nvlink", 0, None, "nvlink"),
    ),
    "cut-2.26": ("InfiniBand x1, GPUDirect", ("infiniband", 1, True, None)),
    "mixed-hosts-and-programs-2.25": ("RoCE x1, GPUDirect", ("roce", 1, True, None)),
    "without-topology-2.24": (
        "peer-to-peer, InfiniBand x1",
        ("infiniband", 1, None, "peer-to-peer"),
    ),
    "infiniband-4-of-jax-2.13": (
        "peer-to-peer, InfiniBand x4, GPUDirect",
        ("infiniband", 4, True, "peer-to-peer"),
    ),
    "rccl-xgmi-sockets-2.17": (
        "Infinity Fabric, sockets on hsn1",
        ("sockets", 1, None, "xgmi"),
    ),
    "rccl-slingshot-4-2.18": (
        "peer-to-peer, Slingshot x4, GPUDirect",
        ("slingshot", 4, True, "peer-to-peer"),
    ),
    "rccl-sockets-2.26": (
        "peer-to-peer, sockets on ens51f1np1",
        ("sockets", 1, None, "peer-to-peer"),
    ),
    "one-node-no-network-2.21": (
        "peer-to-peer",
        ("peer-to-peer", 0, None, "peer-to-peer"),
    ),
    "only-a-version-2.21": (
        "not known: NCCL's report names no transport",
        ("unknown", 0, None, None),
    ),
}
# Reports of groups that are on one node only.
ONE_NODE = {name for name in EXPECTED if name.startswith("one-node")}


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.log").read_text()


def test_every_report_has_an_expectation():
    assert set(EXPECTED) == {path.stem for path in FOLDER.glob("*.log")}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_report_gives_its_facts_and_words(name):
    report = read_report(text_of(name), "node1" if "mixed" in name else None)

    found = from_nccl(report, has_other_nodes=name not in ONE_NODE)

    facts = (found.kind, found.count, found.gpudirect, found.intra_node)
    assert EXPECTED[name] == (found.summary, facts)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_version_is_the_one_in_the_name(name):
    version = read_report(text_of(name)).version

    assert version is not None
    assert name.rpartition("-")[2] == version.rpartition(".")[0]


@pytest.mark.parametrize(
    ("name", "complaints"),
    [
        (
            "sockets-without-libibverbs-2.23",
            ("libibverbs could not be loaded", "no network plugin was found"),
        ),
        (
            "sockets-no-device-2.27",
            ("NCCL found no RDMA device", "no network plugin was found"),
        ),
        ("sockets-infiniband-disabled-2.28", ("NCCL_IB_DISABLE=1 is set",)),
        ("sockets-verbs-too-old-2.32", ("libibverbs could not be loaded",)),
        ("slingshot-4-2.18", ()),
    ],
)
def test_a_report_says_why_no_faster_network_was_taken(name, complaints):
    assert complaints == read_report(text_of(name)).fallback_reasons


def test_interfaces_are_named_as_far_as_they_are_reported():
    def interfaces(name: str) -> tuple[str, ...]:
        return read_report(text_of(name)).interfaces

    assert interfaces("slingshot-4-2.18") == ("cxi0", "cxi1", "cxi2", "cxi3")
    assert interfaces("roce-2-without-gpudirect-2.28") == (
        "rocep1s0f1:1",
        "roceP2p1s0f1:1",
    )
    # 32 are found, one is named.
    assert interfaces("efa-32-2.27") == ("rdmap79s0",)


def test_algorithms_are_named_where_nccl_names_them():
    named = read_report(text_of("one-node-nvlink-2.23")).algorithms
    by_number = read_report(text_of("without-topology-2.24")).algorithms

    assert (("RING", "NVLS"), ("RING",)) == (named, by_number)


def test_lines_of_all_hosts_count_if_the_own_host_is_unknown():
    text = text_of("mixed-hosts-and-programs-2.25")

    assert "IB" == read_report(text, "node1").network
    assert "Socket" == read_report(text, "node2.other.example").network


def test_warnings_are_kept_whole_and_once():
    text = text_of("mixed-hosts-and-programs-2.25")

    assert warnings(text + text) == [
        "[2026-11-25 12:00:01] node1:70:81 [0] transport/net_ib.cc:818 NCCL WARN NET/IB :"
        " Got completion from peer with error 12"
    ]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_report_cut_anywhere_never_names_a_network_that_is_not_in_it(name):
    text = text_of(name)
    whole = {read_report(text).network, None}
    if "mixed" in name:
        whole |= {"IB", "Socket"}

    for length in range(0, len(text), 7):
        assert read_report(text[:length]).network in whole


@given(
    st.text(
        alphabet=st.sampled_from("NCLIFOETSocketPv:/ []()0123\n{}%<>'"), max_size=300
    )
)
def test_any_text_is_read_without_an_error(text):
    read_report("x NCCL INFO " + text + "\n", "node1")
