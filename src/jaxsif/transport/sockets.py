"""Find the interfaces that a process uses, from the kernel's table of sockets."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from jaxsif.node.host import HostInfo

_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
_ADDRESSES_6 = "/proc/self/net/if_inet6"
_DESCRIPTORS = "/proc/self/fd"
_ESTABLISHED = "01"
LOOPBACK = "lo"

# linux/sockios.h: all IPv4 addresses of all interfaces, each a `struct ifreq` of 40
# bytes: 16 of name, 2 of family, 2 of port, 4 of address.
_SIOCGIFCONF = 0x8912
_IFREQ_BYTES = 40
_MAX_ADDRESSES = 1024


@dataclass(frozen=True)
class Connection:
    """One established TCP connection; addresses in their usual notation."""

    local: str
    local_port: int
    remote: str
    remote_port: int
    inode: str


def read_table(text: str) -> Iterator[Connection]:
    """Parse the established connections from /proc/net/tcp or tcp6."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _ESTABLISHED:
            local, local_port = _endpoint(fields[1])
            remote, remote_port = _endpoint(fields[2])
            yield Connection(local, local_port, remote, remote_port, fields[9])


def _endpoint(text: str) -> tuple[str, int]:
    """`0100007F:1F90` is 127.0.0.1 port 8080: words of 32 bits in the host's order."""
    address, _, port = text.partition(":")
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    return _address(struct.pack(f"={len(words)}I", *words)), int(port, 16)


def _address(raw: bytes) -> str:
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    # ::ffff:10.0.0.1 is IPv4 on an IPv6 socket.
    if raw.startswith(b"\0" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def own_connections(host_info: HostInfo) -> list[Connection]:
    """The connections of this process; the tables hold its whole network namespace."""
    own = set()
    for name in host_info.names(_DESCRIPTORS):
        with contextlib.suppress(OSError):
            target = os.readlink(host_info.path(f"{_DESCRIPTORS}/{name}"))
            own |= set(re.findall(r"^socket:\[(\d+)\]$", target))
    tables = (host_info.read(table) or "" for table in _TABLES)
    all_connections = (
        connection for table in tables for connection in read_table(table)
    )
    return [connection for connection in all_connections if connection.inode in own]


def own_addresses(host_info: HostInfo) -> dict[str, str]:
    """The interface of each address of this node."""
    names = dict(_ipv4_addresses())
    for line in (host_info.read(_ADDRESSES_6) or "").splitlines():
        fields = line.split()
        if len(fields) == 6:
            names[_address(bytes.fromhex(fields[0]))] = fields[5]
    return names


def _ipv4_addresses() -> Iterator[tuple[str, str]]:
    # Imported here: rarely needed, and not available on every system.
    import array
    import fcntl

    answer = array.array("B", bytes(_IFREQ_BYTES * _MAX_ADDRESSES))
    pointer, _ = answer.buffer_info()
    request = struct.pack("iP", len(answer), pointer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        length, _ = struct.unpack("iP", fcntl.ioctl(probe, _SIOCGIFCONF, request))
    for start in range(0, length, _IFREQ_BYTES):
        entry = answer[start : start + _IFREQ_BYTES].tobytes()
        name = entry[:16].partition(b"\0")[0].decode(errors="replace")
        # A second address may be labelled `eth0:1`.
        yield _address(entry[20:24]), name.partition(":")[0]


def interfaces_used(
    connections: Iterable[Connection],
    addresses: Mapping[str, str],
    ignored_port: int | None = None,
) -> tuple[str, ...]:
    """The interfaces of the connections to other nodes, or `lo` if there are none.

    Traffic to an address of this node uses `lo`, whichever interface has the address.

    Args:
      ignored_port: of connections that carry no data, such as the coordinator's.
    """
    relevant = [
        c for c in connections if ignored_port not in (c.local_port, c.remote_port)
    ]
    remote = [c for c in relevant if not _is_local(c.remote, addresses)]
    if remote:
        names = {addresses.get(c.local, c.local) for c in remote}
        return tuple(sorted(names))
    return (LOOPBACK,) if relevant else ()


def _is_local(address: str, addresses: Mapping[str, str]) -> bool:
    return address in addresses or address == "::1" or address.startswith("127.")
