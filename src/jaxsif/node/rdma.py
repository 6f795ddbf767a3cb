"""The node's network cards: InfiniBand and RoCE ports, and other interfaces."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from jaxsif.core.problem import Problem
from jaxsif.node.host import HostInfo

_DEVICES = "/sys/class/infiniband"


@dataclass(frozen=True)
class Port:
    """One port, in the kernel's words: `ACTIVE`, `LinkUp`, `400 Gb/sec (4X NDR)`."""

    name: str
    state: str
    physical: str
    rate: str

    @property
    def is_active(self) -> bool:
        return self.state == "ACTIVE"


def read_ports(host_info: HostInfo) -> list[Port]:
    """Every port of every RDMA device."""
    return [
        Port(
            f"{device} port {port}",
            state=_word(host_info, f"{_DEVICES}/{device}/ports/{port}/state"),
            physical=_word(host_info, f"{_DEVICES}/{device}/ports/{port}/phys_state"),
            rate=_word(host_info, f"{_DEVICES}/{device}/ports/{port}/rate"),
        )
        for device in host_info.names(_DEVICES)
        for port in host_info.names(f"{_DEVICES}/{device}/ports")
    ]


def _word(host_info: HostInfo, name: str) -> str:
    """The kernel writes `4: ACTIVE`."""
    text = (host_info.read(name) or "").strip()
    return text.partition(": ")[2] or text


def port_troubles(ports: list[Port]) -> Iterator[Problem]:
    """Report if no port is active, or a port has a link but is not active.

    A port without a cable is no problem: cards have two.
    """
    if ports and not any(port.is_active for port in ports):
        states = ", ".join(f"{p.name} {p.state}/{p.physical}" for p in ports)
        yield Problem(
            "infiniband-down",
            f"no RDMA port is active: {states}",
            "check cables, switch and subnet manager; NCCL uses TCP meanwhile",
            is_fatal=False,
        )
        return
    for port in ports:
        if port.physical in ("LinkUp", "LinkErrorRecovery") and not port.is_active:
            yield Problem(
                "infiniband-down",
                f"{port.name} has a link ({port.physical}) but is {port.state}",
                "is a subnet manager running, and is the cable good?",
                is_fatal=False,
            )


def summary(ports: list[Port]) -> str:
    """One line: how many ports are active, at which rates."""
    active = [port for port in ports if port.is_active]
    rates = ", ".join(sorted({port.rate for port in active}))
    return f"{len(active)} of {len(ports)} ports active" + (
        f": {rates}" if rates else ""
    )


_RDMA = "/sys/class/infiniband"
_NET = "/sys/class/net"
_ETHERNET = "1"

INFINIBAND, ETHERNET, SLINGSHOT = "infiniband", "ethernet", "slingshot"


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


def read_interfaces(host_info: HostInfo) -> list[Interface]:
    """Every port of a real card, once; no virtual devices or loopback."""
    return [*_rdma_ports(host_info), *_other_ports(host_info)]


def _rdma_ports(host_info: HostInfo) -> Iterator[Interface]:
    """InfiniBand ports, and RoCE, whose link layer is Ethernet."""
    for device in host_info.names(_RDMA):
        for port in host_info.names(f"{_RDMA}/{device}/ports"):
            folder = f"{_RDMA}/{device}/ports/{port}"
            layer = (host_info.read(f"{folder}/link_layer") or "").strip()
            rate = re.match(r"([\d.]+) Gb/sec", host_info.read(f"{folder}/rate") or "")
            state = host_info.read(f"{folder}/state") or ""
            yield Interface(
                f"{device}:{port}",
                ETHERNET if layer == "Ethernet" else INFINIBAND,
                float(rate[1]) / 8 if rate else 0.0,
                "ACTIVE" in state,
            )


def _other_ports(host_info: HostInfo) -> Iterator[Interface]:
    for name in host_info.names(_NET):
        folder = f"{_NET}/{name}"
        kind = (host_info.read(f"{folder}/type") or "").strip()
        is_real = host_info.has(f"{folder}/device")
        # A port of an RDMA device has been counted already.
        is_known = host_info.has(f"{folder}/device/infiniband")
        if kind == _ETHERNET and is_real and not is_known:
            # A port without a cable reads -1, or cannot be read.
            speed = (host_info.read(f"{folder}/speed") or "").strip()
            yield Interface(
                name,
                SLINGSHOT if name.startswith("hsn") else ETHERNET,
                int(speed) / 8000 if speed.isdecimal() else 0.0,
                (host_info.read(f"{folder}/operstate") or "").strip() == "up",
            )
