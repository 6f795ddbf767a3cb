"""A node's network cards, with their kinds and rates."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from jaxsif.node.host_info import HostInfo

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
