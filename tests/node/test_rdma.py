"""RDMA ports and network interfaces of simulated nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from fake_nodes import kinds, put, well

from jaxsif.node.rdma import (
    Interface,
    RdmaPort,
    port_problems,
    read_interfaces,
    read_ports,
    summary,
)

UP = RdmaPort("mlx5_0:1", "ACTIVE", "LinkUp", "400 Gb/sec (4X NDR)")
UNPLUGGED = RdmaPort("mlx5_1:1", "DOWN", "Polling", "10 Gb/sec (4X SDR)")
DISABLED = RdmaPort("mlx5_2:1", "DOWN", "Disabled", "10 Gb/sec (4X SDR)")
NO_MANAGER = RdmaPort("mlx5_3:1", "INIT", "LinkUp", "400 Gb/sec (4X NDR)")
BAD_CABLE = RdmaPort("mlx5_4:1", "DOWN", "LinkErrorRecovery", "")


def test_ports_are_read_in_the_kernels_words(tmp_path):
    folder = "/sys/class/infiniband/mlx5_0/ports/1"
    put(tmp_path, f"{folder}/state", "4: ACTIVE\n")
    put(tmp_path, f"{folder}/phys_state", "5: LinkUp\n")
    put(tmp_path, f"{folder}/rate", "400 Gb/sec (4X NDR)\n")

    assert [UP] == read_ports(well(tmp_path))
    assert "1 of 1 ports active: 400 Gb/sec (4X NDR)" == summary([UP])


def test_a_node_without_rdma_has_no_ports(tmp_path):
    assert [] == read_ports(well(tmp_path))
    assert [] == list(port_problems([]))


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([UP], []),
        ([UP, UNPLUGGED, DISABLED], []),
        ([UP, NO_MANAGER], [("infiniband-down", False)]),
        ([UP, BAD_CABLE], [("infiniband-down", False)]),
        ([UNPLUGGED, DISABLED], [("infiniband-down", False)]),
        ([NO_MANAGER], [("infiniband-down", False)]),
    ],
)
def test_a_port_with_a_link_must_be_active(ports, expected):
    assert expected == kinds(port_problems(ports))


def rdma(root, device: str, layer: str, rate: str, state: str = "4: ACTIVE") -> None:
    folder = f"/sys/class/infiniband/{device}/ports/1"
    put(root, f"{folder}/link_layer", f"{layer}\n")
    put(root, f"{folder}/rate", f"{rate}\n")
    put(root, f"{folder}/state", f"{state}\n")


def net(root, name: str, speed: str, state: str = "up", kind: str = "1") -> None:
    folder = f"/sys/class/net/{name}"
    put(root, f"{folder}/type", f"{kind}\n")
    put(root, f"{folder}/speed", f"{speed}\n")
    put(root, f"{folder}/operstate", f"{state}\n")
    put(root, f"{folder}/device/vendor", "0x15b3\n")


def test_infiniband_rates_are_in_bytes(tmp_path):
    rdma(tmp_path, "mlx5_0", "InfiniBand", "400 Gb/sec (4X NDR)")
    rdma(tmp_path, "mlx5_1", "InfiniBand", "2.5 Gb/sec (1X SDR)", "1: DOWN")

    assert [
        Interface("mlx5_0:1", "infiniband", 50.0, True),
        Interface("mlx5_1:1", "infiniband", 0.3125, False),
    ] == read_interfaces(well(tmp_path))


def test_roce_is_ethernet_and_counted_once(tmp_path):
    rdma(tmp_path, "mlx5_0", "Ethernet", "100 Gb/sec (4X EDR)")
    net(tmp_path, "ens1f0", "100000")
    put(tmp_path, "/sys/class/net/ens1f0/device/infiniband/mlx5_0/node_desc")

    assert [Interface("mlx5_0:1", "ethernet", 12.5, True)] == read_interfaces(
        well(tmp_path)
    )


def test_slingshot_and_ethernet_are_distinguished(tmp_path):
    net(tmp_path, "hsn0", "200000")
    net(tmp_path, "eth0", "25000")

    assert [
        Interface("eth0", "ethernet", 3.125, True),
        Interface("hsn0", "slingshot", 25.0, True),
    ] == read_interfaces(well(tmp_path))


def test_a_port_without_a_cable_has_no_rate(tmp_path):
    net(tmp_path, "eth1", "-1", "down")

    assert [Interface("eth1", "ethernet", 0.0, False)] == read_interfaces(
        well(tmp_path)
    )


def test_what_is_no_card_is_left_out(tmp_path):
    net(tmp_path, "ib0", "400000", kind="32")
    put(tmp_path, "/sys/class/net/lo/type", "772\n")
    put(tmp_path, "/sys/class/net/veth0/type", "1\n")
    put(tmp_path, "/sys/class/net/veth0/speed", "10000\n")

    assert [] == read_interfaces(well(tmp_path))
