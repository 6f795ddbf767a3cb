"""A coordinator port that no other launch on this machine has, and a job id that goes with it; on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from jaxsif.core.errors import KitError, UsageError

# In this order, the first that is free. Above those that the image's entry gives to job
# steps, and below 32768, where Linux hands out ports of its own accord.
CANDIDATES = range(32299, 32768)

_MOST_JOB_ID = 2**31


@dataclass(frozen=True)
class ReservedPort:
    """A TCP port of this launch, as long as the ticket is open."""

    number: int
    ticket: socket.socket

    def job_id(self, now_s: float) -> int:
        """An id that no other launch has.

        Launches at the same time have other ports, those with the same port began at
        another time.
        """
        index = self.number - CANDIDATES[0]
        return (int(now_s * 100) * len(CANDIDATES) + index) % _MOST_JOB_ID


def reserve_port(candidates: Iterable[int] = CANDIDATES) -> ReservedPort:
    """Takes the first port that is free. Raises KitError when none is.

    The UDP port of the same number is the ticket: only one launch can have it, it does
    not stand in the way of JAX, which binds the TCP port, and it comes free with the
    end of the launch, whatever ends it.
    """
    for number in candidates:
        ticket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            ticket.bind(("127.0.0.1", number))
        except OSError:
            ticket.close()
            continue
        if not is_listened_on(number):
            return ReservedPort(number, ticket)
        ticket.close()
    raise KitError(
        f"no port is free of {CANDIDATES[0]} to {CANDIDATES[-1]}; end other launches, or"
        " set JAX_COORDINATOR_PORT to a free one"
    )


def refuse_taken(port: str) -> None:
    """Raises UsageError for a port, chosen by the user, that cannot be had."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f"JAX_COORDINATOR_PORT is {port!r}, expected a port; unset it, and a free"
            " one is chosen"
        )
    if is_listened_on(int(port)):
        raise UsageError(
            f"JAX_COORDINATOR_PORT is {port!r}, where another program listens; unset it,"
            " and a free one is chosen"
        )


def is_listened_on(number: int) -> bool:
    """Whether a TCP port has a listener, on whatever address of this machine."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # What has just been closed may be bound again, what listens may not. (Without
        # SO_REUSEPORT, with which JAX's own coordinator would let us in.)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind(("", number))
        except OSError:
            return True
    return False
