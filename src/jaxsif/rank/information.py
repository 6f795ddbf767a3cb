"""What a program is told of its group when it has joined it; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxsif.core.hostlist import expand
from jaxsif.core.slurm_env import SLURM, Identity
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology, parse_topology
from jaxsif.rank.launchers import as_address


@dataclass(frozen=True)
class DistributedInfo:
    """This process in its group, as `initialize_distributed()` returns it.

    `local_device_count`, `global_device_count`, `topology` and `str()` start JAX's back
    end when they are first read, and so fix which devices there are: a program that
    chooses (`jax.config.update("jax_num_cpu_devices", 4)`) does it before. As with any
    first use of `jax.devices()`, all processes have to come to it.

    Args:
      process_id: this process's number, its rank, from 0 to num_processes - 1.
      num_processes: how many there are in the group.
      local_process_id: its number among those on its node.
      node: the name of its node.
      coordinator_address: `host:port` where the group meets; None without a group.
      launcher: who started it: "Slurm", "jax-sif launch", "Open MPI", "PMIx", "PMI",
        "Kubernetes"; "arguments" when the program says itself which process it is,
        "none" when it is the only one.
      asked: the topology that JAX_SIF_TOPOLOGY asks for.
      node_list: the nodes as far as the launcher tells, in Slurm's words.
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
        """The topology that was asked for, if this group has it.

        None when nobody asked for one, and when processes, devices or, where the
        launcher tells them, nodes are others: no program shall lay out its arrays by
        numbers that are not true. `jax-sif verify` says what differs.
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


def information(
    identity: Identity, where: tuple[str, int] | None, environment: Mapping[str, str]
) -> DistributedInfo:
    """Of a rank whose group meets at `where`, host and port; None: there is no group.

    Raises UsageError when the topology that was asked for is none.
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
