"""What may stand in a profile and in a site, field by field; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

# What a pattern asks for, in the words of an error.
WORDS: dict[str, str] = {}


def _matching(pattern: str, words: str) -> msgspec.Meta:
    WORDS[pattern] = words
    return msgspec.Meta(pattern=pattern)


# Slurm reads a directive up to the end of its line.
Line = Annotated[str, _matching(r"\A[^\x00-\x1f\x7f]+\Z", "one line of text")]
Value = Annotated[str, _matching(r"\A[^\x00]*\Z", "text without NUL")]
VariableName = Annotated[
    str, _matching(r"\A[A-Za-z_][A-Za-z0-9_]*\Z", "the name of a variable")
]
# Without a letter Slurm takes megabytes, and people mean bytes or gigabytes.
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
Runtime = Literal["apptainer", "pyxis", "podman-hpc", "bare"]


class ResourceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A topology by its three numbers, for those who do not like labels."""

    nodes: Count
    processes_per_node: Count = 1
    devices_per_process: Count = 1


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a job needs, wherever it runs.

    `memory_per_process` and `cpus_per_process` are of one process; `program` is what
    runs when nobody names another; `packages` is a file of `jax-sif env create`, which
    may hold variables, as `$SCRATCH`.
    """

    description: Line
    topology: Line | ResourceRequest
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


class DocumentedValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variable's value, and why it is that."""

    value: Value
    why: Line


class Gpus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a site is asked for GPUs: `--gpus-per-node=4` or `--gres=gpu:4`, with a type
    as `--gpus-per-node=a100:4`. `partition` and `constraint` are those of jobs that ask
    for GPUs."""

    request: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    type: GpuType | None = None
    partition: Line | None = None
    constraint: Line | None = None


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one node has at most; more is refused before the job is submitted."""

    gpus: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cpus: Count | None = None
    memory: Memory | None = None


class Modules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a job loads itself; by default the user has loaded the kit's before."""

    use: tuple[Line, ...] = ()
    load: tuple[Line, ...] = ()


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a cluster is: how it is asked for nodes, and what its nodes and network need.

    `binds` are folders that the container shall see (`/scratch` or `/scratch:/data`);
    `local_disk` is a folder on each node's own disk, where `--stage` puts the image and
    the packages.
    `binds`, `scratch`, `local_disk` and `baseline` may hold variables, as `$USER`.
    `baseline` is a file of `jax-sif baseline`, with which speeds are compared.
    """

    description: Line
    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    reservation: Line | None = None
    options: tuple[Line, ...] = ()
    gpus: Gpus = Gpus()
    node: Node = Node()
    modules: Modules = Modules()
    network: Line = "unknown"
    environment: dict[VariableName, DocumentedValue] = {}
    binds: tuple[Line, ...] = ()
    scratch: Line | None = None
    local_disk: Line = "/tmp"
    baseline: Line | None = None
    runtime: Runtime = "apptainer"


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of network, and the variables that follow from it."""

    description: Line
    environment: dict[VariableName, DocumentedValue] = {}
