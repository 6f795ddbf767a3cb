"""Finds out over which network a collective really went, and lets NCCL tell it; runs in each rank of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxsif.core.slurm_env import Identity
from jaxsif.node import inspect_host
from jaxsif.transport import sockets
from jaxsif.transport.model import Transport, from_nccl, sockets_words, unknown
from jaxsif.transport.nccl_log import read_report, warnings

LEVEL, FILE, SUBJECTS = "NCCL_DEBUG", "NCCL_DEBUG_FILE", "NCCL_DEBUG_SUBSYS"
# The ways, the cards, and whether GPUs are joined by NVLink; a few hundred lines.
_OUR_SUBJECTS = "INIT,NET,GRAPH"
_TELLING_LEVELS = ("INFO", "TRACE")

# More than NCCL writes for the largest job; a user's own file may hold anything.
_MOST_BYTES = 1 << 26
# A record has 4096 bytes, and a card's name a few tens.
_MAX_NAMED = 32


@dataclass(frozen=True)
class NcclLog:
    """Where NCCL's report of this process will stand; otherwise why it cannot be read."""

    path: Path | None = None
    why_not: str = "NCCL was not asked for a report"

    def text(self) -> str:
        """The report so far; nothing when NCCL has not written any."""
        if self.path is None:
            return ""
        try:
            with self.path.open("rb") as file:
                return file.read(_MOST_BYTES).decode(errors="replace")
        except OSError:
            return ""

    def warnings(self) -> list[str]:
        """What NCCL has warned of."""
        return warnings(self.text())


def listen(environment: MutableMapping[str, str], host: str, pid: int) -> NcclLog:
    """Asks NCCL for its report, in memory of this process. To be called before JAX.

    What the user has set stays: a file of theirs is read, and a report that goes to the
    output is not taken away from there. A file in memory needs no room on a disk, and
    is gone with the process, however that ends.

    Args:
      host: this node's name, pid: this process, as they stand in the name of a file.
    """
    given = environment.get(FILE)
    level = environment.get(LEVEL, "").upper()
    if given and level in _TELLING_LEVELS:
        return NcclLog(Path(_file_name(given, host, pid)))
    for name in (LEVEL, FILE):
        if name in environment:
            value = environment[name]
            return NcclLog(
                why_not=f"{name}={value} is set, which leaves no report to read"
            )
    try:
        descriptor = os.memfd_create("nccl")
    except OSError as error:
        return NcclLog(why_not=f"no file in memory for NCCL's report: {error.strerror}")
    # NCCL opens it by this name.
    path = f"/proc/{pid}/fd/{descriptor}"
    environment[LEVEL] = "INFO"
    environment[FILE] = path
    environment.setdefault(SUBJECTS, _OUR_SUBJECTS)
    return NcclLog(Path(path))


def _file_name(pattern: str, host: str, pid: int) -> str:
    """As NCCL does (src/debug.cc): %h is the host without its domain, %p the process."""
    parts = pattern.split("%%")
    short = host.partition(".")[0]
    return "%".join(p.replace("%h", short).replace("%p", str(pid)) for p in parts)


def expects_gpus(environment: Mapping[str, str], platform_variable: str) -> bool:
    """Whether NCCL will have something to report, as far as one can tell without JAX."""
    chosen = environment.get("JAX_PLATFORMS", "").split(",")[0]
    return environment.get(platform_variable, "gpu") == "gpu" and chosen != "cpu"


def find(identity: Identity, ear: NcclLog | None) -> Transport | None:
    """The way that the collectives of this process have taken so far.

    None where there is nothing to tell: nobody to talk to, and no report.
    """
    import jax

    if jax.default_backend() == "gpu":
        return _by_nccl(identity, ear or NcclLog())
    return _by_processes(identity) if identity.processes > 1 else None


def _by_nccl(identity: Identity, ear: NcclLog) -> Transport | None:
    import jax

    if jax.device_count() == 1:
        return None
    if ear.path is None:
        return unknown("nccl", ear.why_not)
    text = ear.text()
    if not text:
        return unknown("nccl", "NCCL wrote no report")
    return from_nccl(
        read_report(text, inspect_host(os.environ).host_name),
        has_other_nodes=identity.processes > identity.local_processes,
    )


def _by_processes(identity: Identity) -> Transport:
    """Of CPU devices, whose collectives are those of a library for processes."""
    import jax

    library = str(getattr(jax.config, "jax_cpu_collectives_implementation", "gloo"))
    if library != "gloo":
        return unknown(library, f"{library} does not tell it")
    host_info = inspect_host(os.environ)
    used = sockets.interfaces_used(
        sockets.own_connections(host_info),
        sockets.own_addresses(host_info),
        _coordinator_port(),
    )
    if not used:
        return unknown("gloo", "this process has no connection to another")
    return Transport(
        "gloo", "sockets", sockets_words(used), interfaces=used, count=len(used)
    )


def _coordinator_port() -> int | None:
    # There is no public way to the address (JAX 0.12).
    from jax._src.distributed import global_state

    port = (global_state.coordinator_address or "").rpartition(":")[2]
    return int(port) if port.isdecimal() else None


def as_facts(transport: Transport) -> dict[str, Any]:
    """As a record tells it, with as many names as fit."""
    facts = asdict(transport)
    return {
        name: list(value[:_MAX_NAMED]) if isinstance(value, tuple) else value
        for name, value in facts.items()
    }
