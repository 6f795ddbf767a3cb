"""Which rank is where, and the variables that srun would give it there; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxsif.core import slurm_env
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

# Nobody resolves the names of nodes that are not there, so the group meets here.
LOOPBACK = "127.0.0.1"

COORDINATOR = "JAX_COORDINATOR_ADDRESS"
COORDINATOR_PORT = "JAX_COORDINATOR_PORT"

# What the image's entry, or a user, set for the ranks of a step. A launch from within
# such a rank makes a group of its own.
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
class Place:
    """Where a rank is."""

    rank: int
    local_rank: int
    node_index: int

    @property
    def node(self) -> str:
        return f"node{self.node_index + 1}"

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.node}"


@dataclass(frozen=True)
class Job:
    """What the ranks of one launch have in common.

    `port` is the coordinator's, `cpus` how many the machine has, `certificates` what
    names them for JAX, empty where there are none.
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
    started_s: int = 0
    cpus: int = 1
    certificates: Mapping[str, str] = field(default_factory=dict)
    # What the ranks' records carry: the surrounding job's, or one of this launch.
    record_key: str = NO_KEY

    @property
    def step(self) -> str:
        """As the ranks name it: cluster, job, step, restart."""
        return f"{slurm_env.LOCAL_CLUSTER}.{self.id}.0.0"


def places(topology: Topology) -> list[Place]:
    """Every rank's place by Slurm's block distribution, in order of rank."""
    return [
        Place(
            rank,
            rank % topology.processes_per_node,
            topology.node_index(rank),
        )
        for rank in range(topology.processes)
    ]


def users_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of our own environment is the user's, and not of a launcher around us."""
    inner = slurm_env.STEP_NODE_LIST in environment
    users = {
        name: value
        for name, value in environment.items()
        if not name.startswith(slurm_env.LAUNCHER_PREFIXES)
        and not (inner and name in _OF_A_STEP)
    }
    lent = users.pop(CPU_DEVICES_OF_MINICLUSTER, None)
    if lent is not None and users.get(CPU_DEVICES) == lent:
        del users[CPU_DEVICES]
    return users


def environment(job: Job, place: Place, users: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of one rank. What the user set stays as it is."""
    # As for JAX and the entry, an empty variable is none.
    defaults = _defaults(job, place, users).items()
    return {
        **users,
        **{name: value for name, value in defaults if not users.get(name)},
        **_as_srun(job, place),
        **_devices_as_srun(job, place),
        TOPOLOGY_VARIABLE: job.topology.label,
        KEY_VARIABLE: job.record_key,
        slurm_env.RANKS_ON_MACHINE: str(job.topology.processes),
    }


def _defaults(job: Job, place: Place, users: Mapping[str, str]) -> dict[str, str]:
    """What the user may have set otherwise."""
    defaults = {}
    if "PYTHONUNBUFFERED" not in users:
        # What --unbuffered is to srun: who watches a launch wants to see it live.
        defaults["PYTHONUNBUFFERED"] = "1"
    if not users.get(COORDINATOR):
        address = f"{LOOPBACK}:{users.get(COORDINATOR_PORT) or job.port}"
        # No address to bind: an argument of the program's may name another port.
        defaults[COORDINATOR] = address
    if not users.get(certificates.CERTIFICATE):
        # Without any the launcher has said why, once; the entry need not.
        defaults.update(job.certificates or {certificates.TLS: "off"})
    if job.devices.kind == "cpu":
        defaults[PLATFORMS] = "cpu"
        defaults[CPU_DEVICES] = str(job.topology.devices_per_process)
        # Whoever judges expects CPU devices in the place of GPUs.
        defaults["JAX_SIF_PLATFORM"] = "cpu"
    return defaults


def _as_srun(job: Job, place: Place) -> dict[str, str]:
    """As srun sets them for `--ntasks-per-node`, each name that it writes in two ways."""
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
        slurm_env.JOB_START_TIME: str(job.started_s),
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


def _devices_as_srun(job: Job, place: Place) -> dict[str, str]:
    """One node's share of the machine's GPUs after the other.

    Every rank sees all of its node, and the entry gives it those that are its own.
    """
    if job.devices.kind == "cpu":
        # As on a cluster that has no GPUs.
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
