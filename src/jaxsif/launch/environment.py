"""The environment of the ranks: placement, variables, devices and coordinator port."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxsif.core import slurm_env
from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.image import PLATFORM_VARIABLE, VENV
from jaxsif.core.record_lines import KEY_VARIABLE, NO_KEY
from jaxsif.core.text import plural
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology
from jaxsif.launch import certificates

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

_PLATFORMS = "JAX_PLATFORMS"
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_CPU_DEVICES = "JAX_NUM_CPU_DEVICES"
# The value of _CPU_DEVICES that the mini cluster's TaskProlog set, not the user.
_CPU_DEVICES_OF_MINICLUSTER = "MINICLUSTER_CPU_DEVICES"

_IMAGE_DIR = Path(VENV)
_NO_GPU = ("", "NoDevFiles", "-1")

# The first free port is used. They are above those that the image's entry uses for job
# steps, and below 32768, where Linux's ephemeral ports begin.
PORTS = range(32299, 32768)

_MAX_JOB_ID = 2**31


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


@dataclass(frozen=True)
class Devices:
    """The devices of the topology, and why they were chosen.

    `gpus` are the names of the GPUs to distribute, in the format of
    CUDA_VISIBLE_DEVICES; empty for CPU devices.
    """

    reason: str
    gpus: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return "gpu" if self.gpus else "cpu"


@dataclass(frozen=True)
class LocalGpus:
    """The GPUs of the machine, and whether JAX can use them."""

    gpus: tuple[str, ...]
    has_cuda: bool = True


def detect_gpus(environment: Mapping[str, str]) -> LocalGpus:
    """The GPUs that a program here would see.

    Whether JAX has CUDA is known in an image only.
    """
    plugins = list(_IMAGE_DIR.glob("lib/python3*/site-packages/jax_plugins/xla_cuda*"))
    return LocalGpus(
        _visible_gpus(environment), bool(plugins) or not _IMAGE_DIR.exists()
    )


def _visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    listed = environment.get(_VISIBLE_GPUS)
    if listed is None:
        matches = (re.fullmatch(r"nvidia(\d+)", p.name) for p in Path("/dev").iterdir())
        return tuple(sorted((m[1] for m in matches if m), key=int))
    names = [name.strip() for name in listed.split(",")]
    # CUDA ignores everything after an invalid entry.
    invalid = [i for i, name in enumerate(names) if name in _NO_GPU]
    return tuple(names[: invalid[0]] if invalid else names)


def choose_devices(
    requested: str, topology: Topology, environment: Mapping[str, str], local: LocalGpus
) -> Devices:
    """The devices for a topology.

    Args:
      requested: auto, cpu or gpu.
      environment: the caller's.

    Raises UsageError when the devices are not available, or contradict a variable.
    """
    platform = environment.get(_PLATFORMS, "").split(",")[0]
    _check_platform(requested, platform, environment)
    if requested == "gpu":
        return _gpus("--devices gpu", topology, local.gpus)
    if requested == "cpu":
        return _cpus("--devices cpu", topology, environment)
    if platform:
        reason = f"{_PLATFORMS}={environment[_PLATFORMS]} is set"
        if platform == "cpu":
            return _cpus(reason, topology, environment)
        return _gpus(reason, topology, local.gpus)
    shown = (
        f"this machine shows {plural(len(local.gpus), 'GPU')}, {topology.label} needs"
    )
    reason = f"{shown} {topology.devices}"
    if len(local.gpus) < topology.devices:
        return _cpus(reason, topology, environment)
    if not local.has_cuda:
        return _cpus("this image's JAX has no CUDA", topology, environment)
    return _gpus(reason, topology, local.gpus)


def _check_platform(
    requested: str, platform: str, environment: Mapping[str, str]
) -> None:
    if requested == "auto" or not platform:
        return
    if (requested == "cpu") == (platform == "cpu"):
        return
    raise UsageError(
        f"--devices {requested} contradicts {_PLATFORMS}={environment[_PLATFORMS]!r};"
        " remove one of them"
    )


def _gpus(reason: str, topology: Topology, shown: Sequence[str]) -> Devices:
    if len(shown) < topology.devices:
        raise UsageError(
            f"too few GPUs for {reason}: {topology} needs {topology.nodes} x"
            f" {topology.processes_per_node} x {topology.devices_per_process} ="
            f" {topology.devices}, this machine shows {len(shown)}"
            f" ({','.join(shown) or 'none'}); choose a smaller topology, or use CPU"
            " devices instead: --devices cpu"
        )
    return Devices(reason, tuple(shown[: topology.devices]))


def _cpus(reason: str, topology: Topology, environment: Mapping[str, str]) -> Devices:
    chosen = environment.get(_CPU_DEVICES)
    is_callers = chosen != environment.get(_CPU_DEVICES_OF_MINICLUSTER)
    if chosen and is_callers and chosen != str(topology.devices_per_process):
        raise UsageError(
            f"{_CPU_DEVICES} is {chosen!r}, but {topology.label} has"
            f" {topology.devices_per_process} devices in each process"
            f" ({topology.devices} / {topology.processes}); unset it, or choose another"
            " topology"
        )
    return Devices(reason)


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
        index = self.number - PORTS[0]
        return (int(now_s * 100) * len(PORTS) + index) % _MAX_JOB_ID


def reserve_port(candidates: Iterable[int] = PORTS) -> ReservedPort:
    """Reserve the first free port. Raises KitError if there is none.

    The UDP port of the same number is the lock: only one launch can bind it, it does
    not conflict with JAX, which binds the TCP port, and it is released when the launch
    ends for any reason.
    """
    for number in candidates:
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            lock.bind((LOOPBACK, number))
        except OSError:
            lock.close()
            continue
        if not is_listening(number):
            return ReservedPort(number, lock)
        lock.close()
    raise KitError(
        f"no free port from {PORTS[0]} to {PORTS[-1]}; end other launches, or"
        " set JAX_COORDINATOR_PORT to a free one"
    )


def require_free_port(port: str) -> None:
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
    working_dir: str = "/"
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


def caller_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables of a surrounding launcher."""
    inner = slurm_env.STEP_NODE_LIST in environment
    caller = {
        name: value
        for name, value in environment.items()
        if not name.startswith(slurm_env.LAUNCHER_PREFIXES)
        and not (inner and name in _OF_A_STEP)
    }
    set_by_minicluster = caller.pop(_CPU_DEVICES_OF_MINICLUSTER, None)
    if set_by_minicluster is not None and (
        caller.get(_CPU_DEVICES) == set_by_minicluster
    ):
        del caller[_CPU_DEVICES]
    return caller


def rank_environment(
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
        # Without certificates the launcher has printed why; the entry must not repeat
        # it.
        defaults.update(job.certificates or {certificates.TLS: "off"})
    if job.devices.kind == "cpu":
        defaults[_PLATFORMS] = "cpu"
        defaults[_CPU_DEVICES] = str(job.topology.devices_per_process)
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
        slurm_env.SUBMIT_DIR: job.working_dir,
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
        return {_VISIBLE_GPUS: ""}
    count = job.topology.devices_per_node
    first = place.node_index * count
    gpus = ",".join(job.devices.gpus[first : first + count])
    return {
        _VISIBLE_GPUS: gpus,
        slurm_env.STEP_GPUS: gpus,
        slurm_env.GPUS_ON_NODE: str(count),
        slurm_env.GPUS_PER_NODE: str(count),
    }


def _on_each_node(count: int, nodes: int) -> str:
    """Slurm's shorthand: `2(x3)` for 2 on each of 3 nodes."""
    return str(count) if nodes == 1 else f"{count}(x{nodes})"
