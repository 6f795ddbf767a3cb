"""Detect which network a collective used, by NCCL's report or the sockets."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxsif.core.image import PLATFORM_VARIABLE
from jaxsif.core.records import Stamp, TransportRecord
from jaxsif.core.slurm_env import Identity
from jaxsif.node import inspect_host
from jaxsif.node.host import HostInfo
from jaxsif.transport.model import Transport, format_sockets, from_nccl, unknown
from jaxsif.transport.nccl_log import read_report, warnings

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


LEVEL_VARIABLE, FILE_VARIABLE, SUBSYS_VARIABLE = (
    "NCCL_DEBUG",
    "NCCL_DEBUG_FILE",
    "NCCL_DEBUG_SUBSYS",
)
# Transports, cards, and NVLink between GPUs; a few hundred lines.
_SUBSYSTEMS = "INIT,NET,GRAPH"
_SUFFICIENT_LEVELS = ("INFO", "TRACE")

# More than NCCL writes for the largest job; a user's own file may hold anything.
_MAX_BYTES = 1 << 26
# A record has 4096 bytes, and a card's name a few tens.
_MAX_NAMED = 32


@dataclass(frozen=True)
class NcclLog:
    """The file of NCCL's report for this process, or why it cannot be read."""

    path: Path | None = None
    unavailable_reason: str = "NCCL's report was not enabled"

    def text(self) -> str:
        """The report so far; empty if NCCL has not written any."""
        if self.path is None:
            return ""
        try:
            with self.path.open("rb") as file:
                return file.read(_MAX_BYTES).decode(errors="replace")
        except OSError:
            return ""

    def warnings(self) -> list[str]:
        """NCCL's warnings."""
        return warnings(self.text())


def enable_nccl_log(
    environment: MutableMapping[str, str], host: str, pid: int
) -> NcclLog:
    """Request NCCL's report, in memory of this process. Call it before JAX.

    The user's settings stay: their file is read, and a report that goes to the output
    is not redirected. A file in memory needs no disk, and is gone with the process,
    however that ends.

    Args:
      host, pid: this node's name and process, as used in the name of a file.
    """
    file_name = environment.get(FILE_VARIABLE)
    level = environment.get(LEVEL_VARIABLE, "").upper()
    if file_name and level in _SUFFICIENT_LEVELS:
        return NcclLog(Path(_file_name(file_name, host, pid)))
    for name in (LEVEL_VARIABLE, FILE_VARIABLE):
        if name in environment:
            value = environment[name]
            return NcclLog(
                unavailable_reason=f"{name}={value} is set, so there is no report"
            )
    try:
        descriptor = os.memfd_create("nccl")
    except OSError as error:
        return NcclLog(
            unavailable_reason=f"no file in memory for NCCL's report: {error.strerror}"
        )
    # NCCL opens it by this name.
    path = f"/proc/{pid}/fd/{descriptor}"
    environment[LEVEL_VARIABLE] = "INFO"
    environment[FILE_VARIABLE] = path
    environment.setdefault(SUBSYS_VARIABLE, _SUBSYSTEMS)
    return NcclLog(Path(path))


def _file_name(pattern: str, host: str, pid: int) -> str:
    """Expand as NCCL (src/debug.cc): %h is the host without domain, %p the process."""
    parts = pattern.split("%%")
    short = host.partition(".")[0]
    return "%".join(p.replace("%h", short).replace("%p", str(pid)) for p in parts)


def expects_gpus(environment: Mapping[str, str]) -> bool:
    """Whether NCCL will be used, as far as that is known without JAX."""
    first = environment.get("JAX_PLATFORMS", "").split(",")[0]
    return environment.get(PLATFORM_VARIABLE, "gpu") == "gpu" and first != "cpu"


def detect_transport(identity: Identity, nccl_log: NcclLog | None) -> Transport | None:
    """Return the transport of this process's collectives so far.

    None if there is nothing to report: no other process, and no report.
    """
    import jax

    if jax.default_backend() == "gpu":
        return _from_nccl(identity, nccl_log or NcclLog())
    return _from_sockets(identity) if identity.processes > 1 else None


def _from_nccl(identity: Identity, nccl_log: NcclLog) -> Transport | None:
    import jax

    if jax.device_count() == 1:
        return None
    if nccl_log.path is None:
        return unknown("nccl", nccl_log.unavailable_reason)
    text = nccl_log.text()
    if not text:
        return unknown("nccl", "NCCL wrote no report")
    return from_nccl(
        read_report(text, inspect_host(os.environ).host_name),
        has_other_nodes=identity.processes > identity.local_processes,
    )


def _from_sockets(identity: Identity) -> Transport:
    """Return the transport of CPU devices, whose collectives connect processes."""
    import jax

    library = str(getattr(jax.config, "jax_cpu_collectives_implementation", "gloo"))
    if library != "gloo":
        return unknown(library, f"{library} does not report its transport")
    host_info = inspect_host(os.environ)
    interfaces = interfaces_used(
        own_connections(host_info),
        own_addresses(host_info),
        _coordinator_port(),
    )
    if not interfaces:
        return unknown("gloo", "this process has no connection to another")
    return Transport(
        reported_by="gloo",
        kind="sockets",
        summary=format_sockets(interfaces),
        interfaces=interfaces,
        count=len(interfaces),
    )


def _coordinator_port() -> int | None:
    # There is no public way to the address (JAX 0.12).
    from jax._src.distributed import global_state

    port = (global_state.coordinator_address or "").rpartition(":")[2]
    return int(port) if port.isdecimal() else None


def record(stamp: Stamp, transport: Transport) -> TransportRecord:
    """Return its record, with as many names as fit."""
    fields: dict[str, Any] = {
        name: list(value[:_MAX_NAMED]) if isinstance(value, tuple) else value
        for name, value in asdict(transport).items()
    }
    return TransportRecord(**stamp, **fields)
