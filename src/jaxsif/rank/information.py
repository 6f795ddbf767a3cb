"""Information about a process and its group, returned to the program."""
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
        "arguments" if the program passes its process id itself, "none" if it is the only
        process.
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


def information(
    identity: Identity, where: tuple[str, int] | None, environment: Mapping[str, str]
) -> DistributedInfo:
    """Build the information of a rank; `where` is the coordinator, None without a group.

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
