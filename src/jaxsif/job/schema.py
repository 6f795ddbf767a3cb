"""The fields of profiles, sites and networks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from jaxsif.core.topology import Topology, parse_topology

# Descriptions of the patterns for error messages.
PATTERN_DESCRIPTIONS: dict[str, str] = {}


def _matching(pattern: str, description: str) -> msgspec.Meta:
    PATTERN_DESCRIPTIONS[pattern] = description
    return msgspec.Meta(pattern=pattern)


# A directive of Slurm ends at the end of its line.
Line = Annotated[str, _matching(r"\A[^\x00-\x1f\x7f]+\Z", "one line of text")]
Value = Annotated[str, _matching(r"\A[^\x00]*\Z", "text without NUL")]
VariableName = Annotated[
    str, _matching(r"\A[A-Za-z_][A-Za-z0-9_]*\Z", "the name of a variable")
]
# The unit is required, because Slurm's default of megabytes is rarely meant.
Memory = Annotated[
    str, _matching(r"\A[1-9][0-9]*[KMGT]\Z", "an amount of memory such as 8G")
]
Time = Annotated[
    str,
    _matching(
        r"\A(\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+(:\d\d(:\d\d)?)?)\Z",
        "a time as Slurm writes it: minutes, 2:00:00 or 1-12:00:00",
    ),
]
Signal = Annotated[
    str,
    _matching(
        r"\A([A-Z][A-Z0-9]*|[1-9][0-9]?)@[1-9][0-9]*\Z",
        "a signal and seconds before the time limit, such as USR1@120",
    ),
]
GpuType = Annotated[
    str, _matching(r"\A[A-Za-z0-9_.-]+\Z", "a type of GPU such as a100")
]
Count = Annotated[int, msgspec.Meta(ge=1)]
Platform = Literal["gpu", "cpu"]
RuntimeName = Literal["apptainer", "pyxis", "podman-hpc", "bare"]


class TopologyNumbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A topology by its three numbers, as an alternative to a label."""

    nodes: Count
    processes_per_node: Count = 1
    devices_per_process: Count = 1


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The needs of a job on any site.

    `program` is the default program; `packages` is a file of `jax-sif packages create`,
    whose path may contain variables such as `$SCRATCH`.
    """

    description: Line
    topology: Line | TopologyNumbers
    platform: Platform = "gpu"
    program: tuple[Value, ...] = ()
    name: Line | None = None
    cpus_per_process: Count = 4
    memory_per_process: Memory | None = None
    time_limit: Time = "00:10:00"
    environment: dict[VariableName, Value] = {}
    packages: Line | None = None
    signal: Signal | None = None
    requeue: bool = False

    def parse_topology(self) -> Topology:
        """Raises UsageError with the arithmetic if the topology is impossible."""
        numbers = self.topology
        if isinstance(numbers, str):
            return parse_topology(numbers)
        return Topology(
            numbers.nodes, numbers.processes_per_node, numbers.devices_per_process
        )


class DocumentedValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value of a variable, and the reason for it."""

    value: Value
    reason: Line


class GpuRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to request GPUs: `--gpus-per-node=4`, `--gpus-per-node=a100:4` or
    `--gres=gpu:4`. `partition` and `constraint` apply to jobs with GPUs."""

    request: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    type: GpuType | None = None
    partition: Line | None = None
    constraint: Line | None = None


class NodeResources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of one node, which are checked before a job is submitted."""

    gpus: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cpus: Count | None = None
    memory: Memory | None = None


class Modules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Modules that a job loads; by default the user loads the kit's before."""

    use: tuple[Line, ...] = ()
    load: tuple[Line, ...] = ()


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A cluster: how to request nodes, and the settings of its nodes and network.

    `binds` are folders to mount in the container (`/scratch` or `/scratch:/data`);
    `local_disk` is a folder on each node's local disk, where `--stage` copies the image
    and the packages; `baseline` is a file of `jax-sif baseline`. All of them and
    `scratch` may contain variables such as `$USER`.
    """

    description: Line
    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    reservation: Line | None = None
    options: tuple[Line, ...] = ()
    gpus: GpuRequest = GpuRequest()
    node: NodeResources = NodeResources()
    modules: Modules = Modules()
    network: Line = "unknown"
    environment: dict[VariableName, DocumentedValue] = {}
    binds: tuple[Line, ...] = ()
    scratch: Line | None = None
    local_disk: Line = "/tmp"
    baseline: Line | None = None
    runtime: RuntimeName = "apptainer"


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A type of network and its variables."""

    description: Line
    environment: dict[VariableName, DocumentedValue] = {}
