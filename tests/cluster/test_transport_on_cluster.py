"""The network that was used, on a real Slurm: the verdict names the interface by which the nodes really talk."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "faults"))
from fault import hosts_file

# Lower than node1's address: of two gloo peers the one with the lower listens, at the
# address of its name, and the other connects by way of its routing table.
ELSEWHERE = "10.1.0.2"


def interface_between(cluster, node: str, other: str) -> str:
    """By the node's own routing table, which the kit does not read."""
    address = cluster.on(node, "getent", "ahostsv4", other).split()[0]
    words = cluster.on(node, "ip", "-o", "route", "get", address).split()
    return words[words.index("dev") + 1]


def test_the_reported_interface_leads_to_the_other_node(cluster):
    expected = {
        interface_between(cluster, "node1", "node2"),
        interface_between(cluster, "node2", "node1"),
    }
    assert 1 == len(expected) and "lo" not in expected

    job = cluster.submit("allreduce")

    assert 0 == job.status, job.output
    lines = job.output.splitlines()
    assert f"transport: sockets on {expected.pop()}" in lines
    assert 0 == job.output.count("warning: ")


def test_ranks_of_one_node_talk_within_it(cluster):
    job = cluster.submit(
        "allreduce",
        "--nodes=1",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        JAX_SIF_TOPOLOGY="G4N1p4",
    )

    assert 0 == job.status, job.output
    assert "transport: sockets on lo" in job.output.splitlines()


def test_a_promised_network_is_not_tried_by_cpu_devices(cluster):
    job = cluster.submit("allreduce", JAX_SIF_NETWORK="infiniband")

    assert 0 == job.status, job.output
    assert ["network-not-exercised"] == job.kinds


@pytest.fixture
def second_interface(cluster) -> Iterator[None]:
    """node2's name leads to an address on its eth1, which node1 reaches, too."""
    way = cluster.on("node1", "getent", "ahostsv4", "node2").split()[0]
    add = f"""
        ip link add eth1 type veth peer name unused
        ip link set unused up
        ip address add {ELSEWHERE}/24 dev eth1
        ip link set eth1 up
    """
    cluster.on("node2", "sh", "-euc", add)
    cluster.on("node1", "ip", "route", "add", ELSEWHERE, "via", way)
    try:
        with (
            hosts_file(cluster, "node1", {"node2": ELSEWHERE}),
            hosts_file(cluster, "node2", {"node2": ELSEWHERE}),
        ):
            yield
    finally:
        cluster.on("node1", "ip", "route", "del", ELSEWHERE)
        cluster.on("node2", "ip", "link", "del", "eth1")


@pytest.mark.usefixtures("second_interface")
def test_a_node_that_talks_over_another_interface_is_named(cluster):
    job = cluster.submit("allreduce")

    assert 0 == job.status, job.output
    assert ["transport-differs"] == job.kinds
