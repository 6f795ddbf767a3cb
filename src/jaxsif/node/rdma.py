"""The node's network interfaces: InfiniBand and RoCE ports, Ethernet and Slingshot."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from jaxsif.core.errors import Problem
from jaxsif.node.host import HostInfo

_RDMA = "/sys/class/infiniband"
_NET = "/sys/class/net"
# Of /sys/class/net/*/type; the loopback and tunnels have other numbers.
_ETHERNET_TYPE = "1"

INFINIBAND, ETHERNET, SLINGSHOT = "infiniband", "ethernet", "slingshot"


@dataclass(frozen=True)
class RdmaPort:
    """A port in the kernel's terms.

    For example `mlx5_0:1`, `ACTIVE`, `LinkUp`, `400 Gb/sec (4X NDR)`, `InfiniBand`; the
    link layer of RoCE is `Ethernet`.
    """

    name: str
    state: str
    physical_state: str
    rate: str
    link_layer: str = ""

    @property
    def is_active(self) -> bool:
        return self.state == "ACTIVE"


@dataclass(frozen=True)
class Interface:
    """One port of a network card.

    The rate is for one direction, in 1e9 bytes per second; 0.0 if unknown, for example
    without a cable.
    """

    name: str
    kind: str
    gb_per_s: float
    is_active: bool


def read_ports(host_info: HostInfo) -> list[RdmaPort]:
    """Every port of every RDMA device."""

    def read(directory: str, name: str) -> str:
        # The kernel writes `4: ACTIVE`.
        text = (host_info.read(f"{directory}/{name}") or "").strip()
        return text.partition(": ")[2] or text

    ports = []
    for device in host_info.names(_RDMA):
        for number in host_info.names(f"{_RDMA}/{device}/ports"):
            path = f"{_RDMA}/{device}/ports/{number}"
            port = RdmaPort(
                f"{device}:{number}",
                state=read(path, "state"),
                physical_state=read(path, "phys_state"),
                rate=read(path, "rate"),
                link_layer=read(path, "link_layer"),
            )
            ports.append(port)
    return ports


def port_problems(ports: list[RdmaPort]) -> Iterator[Problem]:
    """Report if no port is active, or a port has a link but is not active.

    A port without a cable is no problem: cards have two.
    """
    if ports and not any(port.is_active for port in ports):
        states = ", ".join(f"{p.name} {p.state}/{p.physical_state}" for p in ports)
        yield Problem(
            "infiniband-down",
            f"no RDMA port is active: {states}",
            "check cables, switch and subnet manager; NCCL uses TCP meanwhile",
            is_fatal=False,
        )
        return
    for port in ports:
        has_link = port.physical_state in ("LinkUp", "LinkErrorRecovery")
        if has_link and not port.is_active:
            yield Problem(
                "infiniband-down",
                f"{port.name} has a link ({port.physical_state}) but is {port.state}",
                "check that a subnet manager is running, and the cable",
                is_fatal=False,
            )


def summary(ports: list[RdmaPort]) -> str:
    """One line: how many ports are active, at which rates."""
    active = [port for port in ports if port.is_active]
    rates = ", ".join(sorted({port.rate for port in active}))
    return f"{len(active)} of {len(ports)} ports active" + (
        f": {rates}" if rates else ""
    )


def read_interfaces(host_info: HostInfo) -> list[Interface]:
    """Every port of a real card, once; no virtual devices or loopback."""
    rdma = [_rdma_interface(port) for port in read_ports(host_info)]
    return [*rdma, *_other_interfaces(host_info)]


def _rdma_interface(port: RdmaPort) -> Interface:
    kind = ETHERNET if port.link_layer == "Ethernet" else INFINIBAND
    rate = re.match(r"([\d.]+) Gb/sec", port.rate)
    gb_per_s = float(rate[1]) / 8 if rate else 0.0
    return Interface(port.name, kind, gb_per_s, port.is_active)


def _other_interfaces(host_info: HostInfo) -> Iterator[Interface]:
    for name in host_info.names(_NET):
        directory = f"{_NET}/{name}"
        kind = (host_info.read(f"{directory}/type") or "").strip()
        is_real = host_info.has(f"{directory}/device")
        # It is among the RDMA ports already.
        is_rdma = host_info.has(f"{directory}/device/infiniband")
        if kind == _ETHERNET_TYPE and is_real and not is_rdma:
            # A port without a cable reads -1, or cannot be read.
            speed = (host_info.read(f"{directory}/speed") or "").strip()
            yield Interface(
                name,
                SLINGSHOT if name.startswith("hsn") else ETHERNET,
                int(speed) / 8000 if speed.isdecimal() else 0.0,
                (host_info.read(f"{directory}/operstate") or "").strip() == "up",
            )
