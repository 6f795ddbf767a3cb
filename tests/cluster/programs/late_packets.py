"""Keeps what this node sends to some others waiting for a while, as `tc netem` would; runs on a node of the mini cluster, as its root.

late_packets.py MILLISECONDS ADDRESS...: the way to these addresses leads through a device
`late0`, from whose other end a process in the background takes every packet and sends it on
later. Removing the device ends it all: ip link del late0.
"""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

_OUTSIDE, _INSIDE, _BEHIND = "eth0", "late0", "late1"
_IP = 0x0800
# From linux/if_packet.h: each packet has a header before it that says how it is to be cut
# into pieces and summed, so that large ones pass as they are.
_SOL_PACKET, _VNET_HEADER = 263, 15
_MOST_BYTES = 1 << 17


def own_address(other: str) -> str:
    """This node's, as the other sees it; asks for the other's hardware address as well."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
        knock.connect((other, 9))
        knock.send(b"")
        return knock.getsockname()[0]


def hardware_address(other: str) -> str:
    """Of a neighbour that was asked for it."""
    for _ in range(100):
        for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
            address, _, flags, found, _, device = line.split()
            if (address, device) == (other, _OUTSIDE) and int(flags, 16) & 2:
                return found
        time.sleep(0.02)
    sys.exit(f"{other} does not say its hardware address; is the node up?")


def lead_through(others: list[str]) -> None:
    """Makes the device, with this node's hardware address, and the ways through it."""
    own = own_address(others[0])
    mac = Path(f"/sys/class/net/{_OUTSIDE}/address").read_text().strip()
    lines = [
        f"link add {_INSIDE} type veth peer name {_BEHIND}",
        f"link set {_INSIDE} address {mac}",
        f"link set {_BEHIND} up",
        f"link set {_INSIDE} up",
    ]
    for other in others:
        own_address(other)
        neighbour = hardware_address(other)
        lines.append(f"neigh add {other} lladdr {neighbour} dev {_INSIDE}")
        lines.append(f"route add {other}/32 dev {_INSIDE} src {own}")
    batch = "\n".join(lines) + "\n"
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)


def packets_of(device: str) -> socket.socket:
    """What a device gets, whole, and a way to send through it."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(_SOL_PACKET, _VNET_HEADER, 1)
    return opened


def relay(taken: socket.socket, sent: socket.socket, delay_s: float) -> None:
    """Until the device is gone."""
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        left_s = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        if select.select([taken], [], [], left_s)[0]:
            packet = taken.recv(_MOST_BYTES)
            waiting.append((time.monotonic() + delay_s, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            # Where the network is full it is lost, as on any other way.
            with contextlib.suppress(BlockingIOError, InterruptedError):
                sent.send(waiting.popleft()[1])


def main(delay_ms: str, *others: str) -> None:
    lead_through(list(others))
    taken, sent = packets_of(_BEHIND), packets_of(_OUTSIDE)
    taken.bind((_BEHIND, _IP))
    sent.bind((_OUTSIDE, 0))
    if os.fork():
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    relay(taken, sent, float(delay_ms) / 1e3)


if __name__ == "__main__":
    main(*sys.argv[1:])
