"""InfiniBand and RoCE ports, by the files that the kernel shows of them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from nodes import kinds, put, well

from jaxsif.node.fabric import Port, port_troubles, read_ports, summary

UP = Port("mlx5_0 port 1", "ACTIVE", "LinkUp", "400 Gb/sec (4X NDR)")
UNPLUGGED = Port("mlx5_1 port 1", "DOWN", "Polling", "10 Gb/sec (4X SDR)")
DISABLED = Port("mlx5_2 port 1", "DOWN", "Disabled", "10 Gb/sec (4X SDR)")
NO_MANAGER = Port("mlx5_3 port 1", "INIT", "LinkUp", "400 Gb/sec (4X NDR)")
BAD_CABLE = Port("mlx5_4 port 1", "DOWN", "LinkErrorRecovery", "")


def test_ports_are_read_in_the_kernels_words(tmp_path):
    folder = "/sys/class/infiniband/mlx5_0/ports/1"
    put(tmp_path, f"{folder}/state", "4: ACTIVE\n")
    put(tmp_path, f"{folder}/phys_state", "5: LinkUp\n")
    put(tmp_path, f"{folder}/rate", "400 Gb/sec (4X NDR)\n")

    assert [UP] == read_ports(well(tmp_path))
    assert "1 of 1 ports active: 400 Gb/sec (4X NDR)" == summary([UP])


def test_a_node_without_rdma_has_no_ports(tmp_path):
    assert [] == read_ports(well(tmp_path))
    assert [] == list(port_troubles([]))


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
    assert expected == kinds(port_troubles(ports))
