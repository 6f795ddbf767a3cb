"""The placement of the ranks, and the variables that srun would set for them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxsif.core import slurm_env
from jaxsif.core.paths import PLATFORM_VARIABLE
from jaxsif.core.records import KEY_VARIABLE, NO_KEY
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology
from jaxsif.launch import certificates
from jaxsif.launch.devices import (
    CPU_DEVICES,
    CPU_DEVICES_OF_MINICLUSTER,
    PLATFORMS,
    VISIBLE_GPUS,
    Devices,
)

# node1 and so on are not real host names, so the ranks connect here.
LOOPBACK = "127.0.0.1"

COORDINATOR = "JAX_COORDINATOR_ADDRESS"
COORDINATOR_PORT = "JAX_COORDINATOR_PORT"

# Set by the image's entry, or a user, for the ranks of a step. A launch inside such a
# rank forms a separate group.
_OF_A_STEP = (
    COORDINATOR,
    COORDINATOR_PORT,
    "JAX_COORDINATOR_BIND_ADDRESS",
    "JAX_LOCAL_DEVICE_IDS",
    certificates.CERTIFICATE,
    "JAX_MTLS_KEY_FILE",
    "JAX_MTLS_CA_FILE",
    "JAX_MTLS_PEER_URI_PREFIX",
)


@dataclass(frozen=True)
class RankPlacement:
    """The node of a rank."""

    rank: int
    local_rank: int
    node_index: int

    @property
    def node(self) -> str:
        return f"node{self.node_index + 1}"

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.node}"


@dataclass(frozen=True)
class LocalJob:
    """Common properties of the ranks of one launch.

    `port` is the coordinator's, `cpus` the number of CPUs of the machine,
    `certificates` the variables that name them for JAX, empty if there are none.
    """

    topology: Topology
    devices: Devices
    id: int
    port: int
    name: str = "python"
    folder: str = "/"
    host: str = "localhost"
    user: str = "user"
    user_id: int = 0
    group_id: int = 0
    start_time_s: int = 0
    cpus: int = 1
    certificates: Mapping[str, str] = field(default_factory=dict)
    # The key of the ranks' records: that of the surrounding job, or of this launch.
    record_key: str = NO_KEY

    @property
    def step(self) -> str:
        """The step's name in the records: cluster, job, step, restart."""
        return f"{slurm_env.LOCAL_CLUSTER}.{self.id}.0.0"


def placements(topology: Topology) -> list[RankPlacement]:
    """The placement of each rank by Slurm's block distribution."""
    return [
        RankPlacement(
            rank,
            rank % topology.processes_per_node,
            topology.node_index(rank),
        )
        for rank in range(topology.processes)
    ]


def caller_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables of a surrounding launcher."""
    inner = slurm_env.STEP_NODE_LIST in environment
    caller = {
        name: value
        for name, value in environment.items()
        if not name.startswith(slurm_env.LAUNCHER_PREFIXES)
        and not (inner and name in _OF_A_STEP)
    }
    set_by_minicluster = caller.pop(CPU_DEVICES_OF_MINICLUSTER, None)
    if set_by_minicluster is not None and (
        caller.get(CPU_DEVICES) == set_by_minicluster
    ):
        del caller[CPU_DEVICES]
    return caller


def environment(
    job: LocalJob, place: RankPlacement, caller: Mapping[str, str]
) -> dict[str, str]:
    """The environment of one rank. Variables that the caller set take precedence."""
    # As in JAX and the entry, an empty variable counts as unset.
    defaults = _defaults(job, caller).items()
    return {
        **caller,
        **{name: value for name, value in defaults if not caller.get(name)},
        **_slurm_variables(job, place),
        **_slurm_gpu_variables(job, place),
        TOPOLOGY_VARIABLE: job.topology.label,
        KEY_VARIABLE: job.record_key,
        slurm_env.LOCAL_RANKS: str(job.topology.processes),
    }


def _defaults(job: LocalJob, caller: Mapping[str, str]) -> dict[str, str]:
    """Variables that the caller can override."""
    defaults = {}
    if "PYTHONUNBUFFERED" not in caller:
        # The equivalent of srun --unbuffered: output appears immediately.
        defaults["PYTHONUNBUFFERED"] = "1"
    if not caller.get(COORDINATOR):
        address = f"{LOOPBACK}:{caller.get(COORDINATOR_PORT) or job.port}"
        # No bind address: the program may choose a different port by an argument.
        defaults[COORDINATOR] = address
    if not caller.get(certificates.CERTIFICATE):
        # Without certificates the launcher has printed why; the entry must not repeat it.
        defaults.update(job.certificates or {certificates.TLS: "off"})
    if job.devices.kind == "cpu":
        defaults[PLATFORMS] = "cpu"
        defaults[CPU_DEVICES] = str(job.topology.devices_per_process)
        # The verdict expects CPU devices instead of GPUs.
        defaults[PLATFORM_VARIABLE] = "cpu"
    return defaults


def _slurm_variables(job: LocalJob, place: RankPlacement) -> dict[str, str]:
    """The variables of srun with `--ntasks-per-node`, under both old and new names."""
    topology = job.topology
    nodes, processes = str(topology.nodes), str(topology.processes)
    node_list = "node1" if topology.nodes == 1 else f"node[1-{nodes}]"
    per_node = _on_each_node(topology.processes_per_node, topology.nodes)
    cpus_per_task = max(1, job.cpus // topology.processes)
    cpus_on_node = cpus_per_task * topology.processes_per_node
    first = place.rank - place.local_rank
    neighbours = range(first, first + topology.processes_per_node)
    return {
        slurm_env.CLUSTER: slurm_env.LOCAL_CLUSTER,
        slurm_env.JOB_ID: str(job.id),
        slurm_env.JOB_ID_OLD: str(job.id),
        slurm_env.STEP_ID: "0",
        slurm_env.STEP_ID_OLD: "0",
        slurm_env.JOB_NAME: job.name,
        slurm_env.JOB_USER: job.user,
        slurm_env.JOB_USER_ID: str(job.user_id),
        slurm_env.JOB_GROUP_ID: str(job.group_id),
        slurm_env.JOB_START_TIME: str(job.start_time_s),
        slurm_env.SUBMIT_DIR: job.folder,
        slurm_env.SUBMIT_HOST: job.host,
        slurm_env.JOB_NODES: nodes,
        slurm_env.NODES_OLD: nodes,
        slurm_env.STEP_NODES: nodes,
        slurm_env.JOB_NODE_LIST: node_list,
        slurm_env.NODE_LIST_OLD: node_list,
        slurm_env.STEP_NODE_LIST: node_list,
        slurm_env.PROCESSES: processes,
        slurm_env.PROCESSES_OLD: processes,
        slurm_env.STEP_PROCESSES: processes,
        slurm_env.PROCESSES_PER_NODE_OLD: per_node,
        slurm_env.STEP_PROCESSES_PER_NODE: per_node,
        slurm_env.NTASKS_PER_NODE: str(topology.processes_per_node),
        slurm_env.CPUS_PER_TASK: str(cpus_per_task),
        slurm_env.CPUS_ON_NODE: str(cpus_on_node),
        slurm_env.JOB_CPUS_PER_NODE: _on_each_node(cpus_on_node, topology.nodes),
        slurm_env.RANK: str(place.rank),
        slurm_env.LOCAL_RANK: str(place.local_rank),
        slurm_env.NODE_INDEX: str(place.node_index),
        slurm_env.NODE_NAME: place.node,
        slurm_env.RANKS_ON_NODE: ",".join(map(str, neighbours)),
    }


def _slurm_gpu_variables(job: LocalJob, place: RankPlacement) -> dict[str, str]:
    """The GPUs of the rank's node, a contiguous share of the machine's.

    The rank sees all GPUs of its node, and the entry selects its own.
    """
    if job.devices.kind == "cpu":
        # The same as on a cluster without GPUs.
        return {VISIBLE_GPUS: ""}
    count = job.topology.devices_per_node
    first = place.node_index * count
    gpus = ",".join(job.devices.gpus[first : first + count])
    return {
        VISIBLE_GPUS: gpus,
        slurm_env.STEP_GPUS: gpus,
        slurm_env.GPUS_ON_NODE: str(count),
        slurm_env.GPUS_PER_NODE: str(count),
    }


def _on_each_node(count: int, nodes: int) -> str:
    """Slurm's shorthand: `2(x3)` for 2 on each of 3 nodes."""
    return str(count) if nodes == 1 else f"{count}(x{nodes})"
