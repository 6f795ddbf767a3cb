"""What launchers read, variables and the machine; and a process without one."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import SINGLE_PROCESS, Identity

# Names a run where its launcher does not: the same for all its ranks, and for no other
# run. A user, or a manifest, sets it.
RUN_VARIABLE = "JAX_SIF_RUN_ID"

# The image's entry has the same rule, because it also holds for other programs.
_RANK_0_RULE = Path(__file__).resolve().parents[2] / "start/rank_0_host.sh"
_APPLY_RULE = '. "$0"; jaxsif_rank_0_host; printf %s "$host"'


@dataclass(frozen=True)
class LocalHost:
    """The machine as seen by the process; replaced in tests.

    `full_name` returns the host name with its domain, if any: called only when needed,
    because a name service may be slow. `first_line` returns a file's first line, None
    if unreadable. `peer_pid` returns the process that created a socket, by its
    descriptor; None if it is not a socket or not visible. `rank_0_host` returns the
    node of rank 0 from the variables of a Slurm step, None if unknown.
    """

    host_name: str
    full_name: Callable[[], str]
    first_line: Callable[[str], str | None]
    peer_pid: Callable[[int], int | None]
    rank_0_host: Callable[[Mapping[str, str]], str | None] = lambda environment: None


def this_machine() -> LocalHost:
    return LocalHost(
        socket.gethostname(), socket.getfqdn, _first_line, _peer_pid, _rank_0_host
    )


def _first_line(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.readline().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _peer_pid(descriptor: int) -> int | None:
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


def _rank_0_host(environment: Mapping[str, str]) -> str | None:
    import subprocess

    done = subprocess.run(
        ["/bin/sh", "-euc", _APPLY_RULE, str(_RANK_0_RULE)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout if done.returncode == 0 and done.stdout else None


def number(environment: Mapping[str, str], name: str, starter: str) -> int:
    """A variable's value. `starter` is the program that sets it for every rank.

    Raises UsageError when it is not a number.
    """
    value = environment.get(name)
    if value is None or not value.isdecimal():
        raise UsageError(
            f"{name} is {value!r}, expected a number; start the program with {starter},"
            " which sets it for every rank"
        )
    return int(value)


def first_set(environment: Mapping[str, str], names: Iterable[str]) -> str | None:
    """The first of several variables that is there and not empty."""
    return next((name for name in names if environment.get(name)), None)


class Single:
    """A single process, in a terminal, a batch script or an allocation."""

    def identify(self, environment: Mapping[str, str], machine: LocalHost) -> Identity:
        """Rank 0 of 1; a check before the start compares that with the allocation."""
        node = machine.host_name
        return Identity("local.0.0.0", 0, 1, 0, node, node, launcher=SINGLE_PROCESS)

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: LocalHost
    ) -> None:
        """There is no group."""
