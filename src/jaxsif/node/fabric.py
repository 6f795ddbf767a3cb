"""The state of the node's InfiniBand and RoCE ports."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jaxsif.core.problem import Problem
from jaxsif.node.host_info import HostInfo

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
