"""What a launcher's file asks of the machine besides the environment; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """The machine as the process sees it; the tests have others.

    `full_name` gives the host's name with its domain, where it has one: asked only when
    needed, because a name service may be slow. `first_line` gives that of a file, None
    when it cannot be read. `maker` gives the number of the process that made a socket,
    by its descriptor; None when it is no socket, or nobody's in sight.
    """

    host_name: str
    full_name: Callable[[], str]
    first_line: Callable[[str], str | None]
    maker: Callable[[int], int | None]


def this_machine() -> Machine:
    return Machine(socket.gethostname(), socket.getfqdn, _first_line, _maker)


def _first_line(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.readline().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _maker(descriptor: int) -> int | None:
    """By the credentials that the kernel keeps of both ends (unix(7), SO_PEERCRED)."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            size = struct.calcsize("3i")
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    # Only Linux has it.
    except (OSError, AttributeError):
        return None
    process: int = struct.unpack("3i", found)[0]
    return process or None
