"""The interfaces that a process uses, from the kernel's tables and real sockets."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from fake_nodes import put, well

from jaxsif.node import inspect_host
from jaxsif.transport import detect
from jaxsif.transport.detect import Connection, interfaces_used, read_table

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
TABLE = f"""{HEAD}\
   0: 0B00040A:1F90 0C00040A:A0F2 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4712 1
   2: 0100007F:0CEA 0100007F:0016 06 00000000:00000000 03:00000F2A 00000000     0        0 0 3
cut
"""
TABLE_6 = f"""{HEAD}\
   0: 0000000000000000FFFF00000B00040A:1F91 0000000000000000FFFF00000D00040A:A0F3 01 0:0 00:0 0 1000 0 4713 1
   1: 000080FE000000000000000001000000:1F92 000080FE000000000000000002000000:A0F4 01 0:0 00:0 0 1000 0 4714 1
"""
NODE = {"10.4.0.11": "ib0", "10.1.0.11": "eth0", "127.0.0.1": "lo", "fd00::b": "hsn0"}


def to(remote: str, local: str = "10.4.0.11", port: int = 5000) -> Connection:
    return Connection(local, port, remote, 40000, "1")


def test_only_established_connections_are_read_and_in_peoples_words():
    assert [Connection("10.4.0.11", 8080, "10.4.0.12", 41202, "4711")] == list(
        read_table(TABLE)
    )


def test_ipv6_is_read_and_ipv4_in_it_is_ipv4():
    assert [
        Connection("10.4.0.11", 8081, "10.4.0.13", 41203, "4713"),
        Connection("fe80::1", 8082, "fe80::2", 41204, "4714"),
    ] == list(read_table(TABLE_6))


def test_connections_of_other_processes_do_not_count(tmp_path):
    put(tmp_path, "/proc/self/net/tcp", TABLE)
    put(tmp_path, "/proc/self/net/tcp6", TABLE_6)
    folder = put(tmp_path, "/proc/self/fd/0").parent
    (folder / "5").symlink_to("socket:[4713]")
    (folder / "6").symlink_to("/dev/null")

    found = detect.own_connections(well(tmp_path))

    assert ["4713"] == [connection.inode for connection in found]


@pytest.mark.parametrize(
    ("connections", "expected"),
    [
        ([], ()),
        ([to("10.4.0.12"), to("10.4.0.13")], ("ib0",)),
        ([to("10.4.0.12"), to("10.1.0.12", "10.1.0.11")], ("eth0", "ib0")),
        # Neighbours on the same node are no proof of a network.
        ([to("10.4.0.12"), to("127.0.0.1", "127.0.0.1")], ("ib0",)),
        ([to("10.4.0.11"), to("127.0.1.1", "127.0.0.1")], ("lo",)),
        ([to("fd00::c", "fd00::b")], ("hsn0",)),
        # The coordinator's carry no data.
        ([to("10.1.0.12", "10.1.0.11", port=777), to("10.4.0.12")], ("ib0",)),
        # An address that went away since.
        ([to("10.4.0.12", "10.9.9.9")], ("10.9.9.9",)),
    ],
)
def test_the_interfaces_are_those_of_connections_to_other_nodes(connections, expected):
    assert expected == interfaces_used(connections, NODE, ignored_port=777)


def test_a_real_connection_is_found_and_so_is_its_interface():
    host_info = inspect_host({})
    before = len(detect.own_connections(host_info))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client, server.accept()[0]:
            found = detect.own_connections(host_info)
            ports = {c.local_port for c in found}

            assert {address[1], client.getsockname()[1]} <= ports
            assert before + 2 == len(found)
            assert ("lo",) == interfaces_used(found, detect.own_addresses(host_info))


def test_the_addresses_of_this_machine_have_the_names_of_its_interfaces():
    names = detect.own_addresses(inspect_host({}))

    assert "lo" == names["127.0.0.1"]
    assert set(names.values()) <= {
        path.name for path in Path("/sys/class/net").iterdir()
    }
