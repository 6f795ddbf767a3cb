"""Reserves a coordinator port and a matching job id, unique on this machine."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from jaxsif.core.errors import KitError, UsageError

# The first free port is used. They are above those that the image's entry uses for job
# steps, and below 32768, where Linux's ephemeral ports begin.
CANDIDATES = range(32299, 32768)

_MOST_JOB_ID = 2**31


@dataclass(frozen=True)
class ReservedPort:
    """A TCP port of this launch while the lock is open."""

    number: int
    lock: socket.socket

    def job_id(self, now_s: float) -> int:
        """A unique id.

        Simultaneous launches have different ports; launches with the same port started
        at different times.
        """
        index = self.number - CANDIDATES[0]
        return (int(now_s * 100) * len(CANDIDATES) + index) % _MOST_JOB_ID


def reserve_port(candidates: Iterable[int] = CANDIDATES) -> ReservedPort:
    """Reserve the first free port. Raises KitError if there is none.

    The UDP port of the same number is the lock: only one launch can bind it, it does not
    conflict with JAX, which binds the TCP port, and it is released when the launch ends
    for any reason.
    """
    for number in candidates:
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            lock.bind(("127.0.0.1", number))
        except OSError:
            lock.close()
            continue
        if not is_listening(number):
            return ReservedPort(number, lock)
        lock.close()
    raise KitError(
        f"no free port from {CANDIDATES[0]} to {CANDIDATES[-1]}; end other launches, or"
        " set JAX_COORDINATOR_PORT to a free one"
    )


def require_free(port: str) -> None:
    """Raises UsageError if the port that the user chose is not available."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f"JAX_COORDINATOR_PORT is {port!r}, expected a port number; unset it to"
            " use a free port"
        )
    if is_listening(int(port)):
        raise UsageError(
            f"JAX_COORDINATOR_PORT is {port!r}, which another program uses; unset it to"
            " use a free port"
        )


def is_listening(number: int) -> bool:
    """Whether a TCP port has a listener on any address of this machine."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Recently closed ports can be bound again, listening ones cannot. (Without
        # SO_REUSEPORT, with which JAX's coordinator would permit it.)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind(("", number))
        except OSError:
            return True
    return False
