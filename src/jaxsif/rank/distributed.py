"""Choose a rank's devices, join the group, and inform the program about it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import atexit
import ctypes
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.hostlist import expand
from jaxsif.core.slurm_env import (
    ARGUMENTS,
    LOCAL_LAUNCH,
    SINGLE_PROCESS,
    SLURM,
    Identity,
)
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology, parse_topology
from jaxsif.rank.launchers import as_address, given_address
from jaxsif.rank.preflight import is_own_address
from jaxsif.rank.watchdog import Limits

BIND_VARIABLE = "JAX_COORDINATOR_BIND_ADDRESS"
LOCAL_DEVICES_VARIABLE = "JAX_LOCAL_DEVICE_IDS"

# The rule by which tasks share a node's GPUs; the image's entry uses it as well.
_RULE = Path(__file__).resolve().parents[1] / "start/local_devices.sh"
_APPLY_RULE = '. "$0"; jaxsif_local_device_ids; printf %s "$local_device_ids"'

# JAX's timeout is longer than ours, whose report names the cause.
_JAX_EXTRA_TIMEOUT_S = 30


def local_device_ids(
    environment: Mapping[str, str],
    identity: Identity,
    slurm_env: Mapping[str, str],
    settings: Mapping[str, Any],
) -> list[int] | None:
    """Ordinals of this process's own GPUs, among those visible to it.

    A choice of the program, the user or the image's entry is kept. None leaves the
    choice to JAX, which takes all: no GPU is visible, or they are not shared.

    Args:
      slurm_env: the environment, translated to Slurm's variables.
    """
    chosen = settings.get("local_device_ids")
    if chosen is not None:
        return [chosen] if isinstance(chosen, int) else list(chosen)
    ordinals = environment.get(LOCAL_DEVICES_VARIABLE)
    if ordinals:
        return _numbers(ordinals)
    if identity.launcher in (SINGLE_PROCESS, ARGUMENTS):
        return None
    return _apply_rule(slurm_env)


def _apply_rule(slurm_env: Mapping[str, str]) -> list[int] | None:
    import subprocess

    done = subprocess.run(
        ["/bin/sh", "-euc", _APPLY_RULE, str(_RULE)],
        env=slurm_env,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise KitError(
            f"{_RULE} ended with status {done.returncode}: {done.stderr.strip()!r}; set"
            f" {LOCAL_DEVICES_VARIABLE} for every rank"
        )
    return _numbers(done.stdout) if done.stdout else None


def _numbers(ordinals: str) -> list[int]:
    items = ordinals.split(",")
    if not all(item.strip().isdecimal() for item in items):
        raise UsageError(
            f"{LOCAL_DEVICES_VARIABLE} is {ordinals!r}, expected numbers as in 0,1;"
            " unset it, so that every rank gets its share"
        )
    return [int(item) for item in items]


def as_variable(ordinals: Sequence[int]) -> str:
    """Format for JAX's environment variable."""
    return ",".join(map(str, ordinals))


def has_devices() -> bool:
    """Whether the program has used JAX's devices; does not start them."""
    from jax._src import xla_bridge

    return bool(xla_bridge.backends_are_initialized())


def leave_group_to_parent() -> None:
    """For a forked child: at its exit it must not use its parent's connections.

    JAX would leave the group on behalf of the parent, and freeing its clients would
    disconnect from the coordinator and the other ranks.
    """
    # There are no public names (JAX 0.12).
    api = sys.modules.get("jax._src.api")
    state = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
    bridge = sys.modules.get("jax._src.xla_bridge")
    clean_up = getattr(api, "clean_up", None)
    if clean_up is not None:
        atexit.unregister(clean_up)
    backends = getattr(bridge, "_backends", {})
    names = ("client", "service", "preemption_sync_manager")
    for shared in (*(getattr(state, n, None) for n in names), *backends.values()):
        # Never released, so Python never frees it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(shared))


def with_arguments(
    environment: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, str]:
    """The environment, with the certificates that the program passes as arguments."""
    named = {
        name.upper(): str(value)
        for name, value in settings.items()
        if name.startswith("mtls_") and value is not None
    }
    return {**environment, **{f"JAX_{name}": value for name, value in named.items()}}


def address_to_bind(
    where: tuple[str, int],
    identity: Identity,
    environment: Mapping[str, str],
    settings: Mapping[str, Any],
) -> str | None:
    """The address for rank 0 to bind: the cluster's network only, if it is unambiguous.

    None leaves the choice to JAX, which binds all networks of the node: if the user
    chose the coordinator, its name may belong to another process, or it has several
    addresses.
    """
    is_chosen = given_address(environment, settings) is not None
    if (is_chosen and identity.launcher != LOCAL_LAUNCH) or identity.rank:
        return None
    if settings.get("coordinator_bind_address") or environment.get(BIND_VARIABLE):
        return None
    host, port = where
    found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    addresses = {str(entry[4][0]) for entry in found}
    # A node's own name may resolve to a loopback address such as 127.0.1.1.
    is_reached = all(a == host or not a.startswith("127.") for a in addresses)
    is_one = len(addresses) == 1 and all(map(is_own_address, addresses))
    return f"{addresses.pop()}:{port}" if is_one and is_reached else None


def join(
    limits: Limits,
    identity: Identity,
    where: tuple[str, int],
    ordinals: Sequence[int] | None,
    settings: Mapping[str, Any],
    bind_address: str | None = None,
) -> Any:
    """Call `jax.distributed.initialize()` with timeouts that end a broken group soon.

    Returns JAX's client of the coordinator. JAX's own detection is off: it knows fewer
    launchers, and uses one coordinator for all steps of a job. `settings` are the
    caller's arguments and take precedence.
    """
    import jax

    # There is no public way to the client (JAX 0.12).
    from jax._src.distributed import global_state

    # JAX replaces an existing handler.
    handler = signal.getsignal(signal.SIGTERM)
    ours = {
        "coordinator_address": as_address(where),
        "coordinator_bind_address": bind_address,
        "num_processes": identity.processes,
        "process_id": identity.rank,
        "local_device_ids": ordinals,
        "cluster_detection_method": "deactivate",
        "initialization_timeout": int(
            min(limits.deadline_s("connected"), 86400) + _JAX_EXTRA_TIMEOUT_S
        ),
        "heartbeat_timeout_seconds": limits.heartbeat_s,
        "shutdown_timeout_seconds": limits.shutdown_s,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    jax.distributed.initialize(**{**ours, **given})
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
    return global_state.client


@dataclass(frozen=True)
class DistributedInfo:
    """This process in its group, as `initialize_distributed()` returns it.

    `local_device_count`, `global_device_count`, `topology` and `str()` start JAX's back
    end when first read, which fixes the devices: a program that chooses them
    (`jax.config.update("jax_num_cpu_devices", 4)`) must do so before. As with any first
    use of `jax.devices()`, all processes must take part.

    Args:
      process_id: this process's rank, from 0 to num_processes - 1.
      num_processes: number of processes in the group.
      local_process_id: its index among those on its node.
      node: the name of its node.
      coordinator_address: `host:port` of the coordinator; None without a group.
      launcher: "Slurm", "jax-sif launch", "Open MPI", "PMIx", "PMI", "Kubernetes";
        "arguments" if the program passes its process id itself, "none" if it is the
        only process.
      asked: the topology requested by JAX_SIF_TOPOLOGY.
      node_list: the nodes known from the launcher, as a Slurm node list.
    """

    process_id: int
    num_processes: int
    local_process_id: int
    node: str
    coordinator_address: str | None
    launcher: str
    asked: Topology | None = field(default=None, repr=False)
    node_list: str = field(default="", repr=False)

    @property
    def is_coordinator(self) -> bool:
        """Whether the group's coordinator runs in this process."""
        return self.process_id == 0

    @property
    def local_device_count(self) -> int:
        """The devices of this process."""
        import jax

        return int(jax.local_device_count())

    @property
    def global_device_count(self) -> int:
        """The devices of all processes."""
        import jax

        return int(jax.device_count())

    @property
    def topology(self) -> Topology | None:
        """The requested topology, if this group has it.

        None if none was requested, or if processes, devices or (where known from the
        launcher) nodes differ: a program must not lay out its arrays by wrong numbers.
        `jax-sif verify` reports the difference.
        """
        asked = self.asked
        if asked is None or asked.processes != self.num_processes:
            return None
        if self.launcher == SLURM and self._node_count != asked.nodes:
            return None
        is_so = (asked.devices_per_process, asked.devices) == (
            self.local_device_count,
            self.global_device_count,
        )
        return asked if is_so else None

    @property
    def _node_count(self) -> int | None:
        try:
            return len(expand(self.node_list))
        except ValueError:
            return None

    def __str__(self) -> str:
        return (
            f"process {self.process_id} of {self.num_processes} on {self.node}, local"
            f" devices {self.local_device_count}, global devices"
            f" {self.global_device_count}"
        )


def distributed_info(
    identity: Identity, where: tuple[str, int] | None, environment: Mapping[str, str]
) -> DistributedInfo:
    """The information of a rank; `where` is the coordinator, None without a group.

    Raises UsageError if the requested topology is invalid.
    """
    label = environment.get(TOPOLOGY_VARIABLE)
    return DistributedInfo(
        process_id=identity.rank,
        num_processes=identity.processes,
        local_process_id=identity.local_rank,
        node=identity.node,
        coordinator_address=as_address(where) if where else None,
        launcher=identity.launcher,
        asked=parse_topology(label) if label else None,
        node_list=identity.node_list,
    )
