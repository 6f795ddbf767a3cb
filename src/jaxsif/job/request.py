"""Combines profile, site and options into a job, and rejects impossible ones."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from jaxsif.core.errors import UsageError
from jaxsif.core.image import (
    DIAGNOSTICS,
    NETWORK_VARIABLE,
    PACKAGES_VARIABLE,
    PLATFORM_VARIABLE,
)
from jaxsif.core.text import plural
from jaxsif.core.topology import Topology
from jaxsif.job.configs import describe_type
from jaxsif.job.schema import DocumentedValue, Network, Profile, Site

# Unless the user says otherwise.
_MAX_RESTARTS = 10

_BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

# The default program.
_ACCEPTANCE = ("python", f"{DIAGNOSTICS}/allreduce.py")

# The network in job/networks without settings.
_UNKNOWN_NETWORK = "unknown"

# Signals whose default action does not end a process.
_SAFE_SIGNALS = ("URG", "WINCH", "CONT", "CHLD")

# Where to install packages if the runtime does not support overlays.
_PACKAGE_TARGETS = {
    "pyxis": "your own image",
    "podman-hpc": "your own image",
    "bare": "the active Python environment",
}

# Options that have another name than the field.
_OPTIONS = {
    "name": "job-name",
    "time_limit": "time",
    "cpus_per_process": "cpus-per-task",
    "environment": "env",
    "options": "sbatch",
}

T = TypeVar("T", bound=msgspec.Struct)

# A job is named after the script that one of these runs, not after the interpreter.
_INTERPRETERS = ("bash", "sh", "dash", "zsh", "ksh", "python", "python3")


@dataclass(frozen=True)
class Variable:
    """A variable of the job's environment, with the reason for its value.

    `is_expanded`: whether variables in the value, such as `$USER`, are expanded.
    """

    value: str
    reason: str
    is_expanded: bool = False


@dataclass(frozen=True)
class JobOptions:
    """The command-line options; `*_changes` override fields of profile and site.

    `command_line` is shown in the script, `verdict_file` a path.
    """

    site: str | None = None
    profile_changes: Mapping[str, Any] = field(default_factory=dict)
    site_changes: Mapping[str, Any] = field(default_factory=dict)
    # NAME=VALUE
    environment: Sequence[str] = ()
    sbatch_options: Sequence[str] = ()
    output: str = "%x-%j.out"
    verdict_file: str | None = None
    divisible_by: Sequence[int] = ()
    is_staged: bool = False
    collectives: str = "gloo"
    # Nodes of the allocation that wait for one to fail; starts after the first.
    spare_nodes: int | None = None
    max_restarts: int | None = None
    command_line: str = "jax-sif job"

    @property
    def is_recovered(self) -> bool:
        """Whether the program is started again after a failure."""
        return self.spare_nodes is not None or self.max_restarts is not None

    @property
    def restarts(self) -> int:
        """How many starts may follow the first one."""
        return _MAX_RESTARTS if self.max_restarts is None else self.max_restarts


@dataclass(frozen=True)
class Job:
    """The content of a script. `program` is the command line of a rank."""

    name: str
    topology: Topology
    profile: Profile
    site: Site
    program: tuple[str, ...]
    # Whether it is a diagnostic of the kit, which reports everything the verdict needs.
    is_diagnostic: bool
    variables: Mapping[str, Variable]
    options: JobOptions

    @property
    def binds(self) -> tuple[str, ...]:
        """Directories to mount in the container: SOURCE or SOURCE:TARGET."""
        scratch = self.site.scratch
        return (*self.site.binds, *((scratch,) if scratch else ()))


def with_overrides(kind: type[T], value: T, changes: Mapping[str, Any]) -> T:
    """A profile or site with changes. Raises UsageError with the wrong option."""
    fields = {**msgspec.to_builtins(value), **changes}
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        named = re.search(r"\$\.([a-z_]+)", place)
        field = named[1] if named else place
        option = _OPTIONS.get(field, field.replace("_", "-"))
        raise UsageError(
            f"--{option} is {changes.get(field)!r}: {describe_type(what)}"
        ) from error


def build_job(
    program: Sequence[str],
    profile: Profile,
    site: Site,
    network: Network,
    options: JobOptions,
) -> Job:
    """Build the job. Raises UsageError, with the numbers, if it is impossible.

    Args:
      program: the command line; empty for that of the profile, or the all-reduce check.
    """
    topology = profile.parse_topology()
    command = _command(program or profile.program or _ACCEPTANCE)
    for complaint in (
        *_indivisible(topology, options.divisible_by),
        *_too_large(topology, profile, site),
        *_mismatched(profile, site, options),
        *_unrecoverable(topology, site, options),
    ):
        raise UsageError(complaint)
    return Job(
        name=profile.name or program_name(command),
        topology=topology,
        profile=profile,
        site=site,
        program=command,
        # The program may be followed by arguments.
        is_diagnostic=any(arg.startswith(f"{DIAGNOSTICS}/") for arg in command[:2]),
        variables=_variables(profile, site, network, topology, options),
        options=options,
    )


def _command(program: Sequence[str]) -> tuple[str, ...]:
    """The command line; Python files are run by Python."""
    if program and program[0].endswith(".py"):
        return ("python", *program)
    return tuple(program)


def program_name(program: Sequence[str]) -> str:
    """`train` for `python src/train.py --epochs 3` and for `bash -x train.sh`.

    Always printable.
    """
    file = next((arg for arg in program if arg.endswith(".py")), _script(program))
    name = file.rpartition("/")[2].removesuffix(".py").removesuffix(".sh")
    return "".join(c if c.isprintable() else "_" for c in name)


def _script(program: Sequence[str]) -> str:
    """The file that an interpreter runs; the program itself if there is none."""
    first, *rest = program
    if first.rpartition("/")[2] not in _INTERPRETERS or "-c" in rest:
        return first
    return next((arg for arg in rest if not arg.startswith("-")), first)


def _indivisible(topology: Topology, numbers: Sequence[int]) -> Iterator[str]:
    for number in numbers:
        if number % topology.devices:
            below = number // topology.devices * topology.devices
            near = [n for n in (below, below + topology.devices) if n]
            yield (
                f"{number} is not divisible by the {topology.devices} devices of"
                f" {topology.label} ({number} / {topology.devices} ="
                f" {number / topology.devices:g}); the nearest that are:"
                f" {' and '.join(map(str, near))}"
            )


def _too_large(topology: Topology, profile: Profile, site: Site) -> Iterator[str]:
    node = site.node
    per_node = topology.processes_per_node
    gpus = topology.devices_per_node if profile.platform == "gpu" else 0
    if node.gpus is not None and gpus > node.gpus:
        yield (
            f"{topology} needs {gpus} GPUs on a node ({per_node} processes x"
            f" {topology.devices_per_process}), this site's nodes have {node.gpus};"
            f" {_fewer_per_node(topology, node.gpus)}"
        )
    cpus = profile.cpus_per_process * per_node
    if node.cpus is not None and cpus > node.cpus:
        yield (
            f"{topology} needs {cpus} CPUs on a node ({per_node} processes x"
            f" {profile.cpus_per_process}), this site's nodes have {node.cpus}; use"
            f" --cpus-per-task={max(node.cpus // per_node, 1)}"
        )
    if node.memory and profile.memory_per_process:
        needed = per_node * memory_bytes(profile.memory_per_process)
        if needed > memory_bytes(node.memory):
            yield (
                f"{topology} needs {per_node} processes x {profile.memory_per_process}"
                f" of memory on a node, this site's nodes have {node.memory}; use a"
                " smaller --memory-per-process"
            )


def _fewer_per_node(topology: Topology, gpus: int) -> str:
    """A hint: the same devices and processes on nodes with fewer GPUs."""
    for nodes in range(topology.nodes, topology.processes + 1):
        fits = topology.devices <= nodes * gpus
        if fits and not topology.processes % nodes:
            return f"use G{topology.devices}N{nodes}p{topology.processes}"
    return "use a topology with fewer devices in each process"


def _mismatched(profile: Profile, site: Site, options: JobOptions) -> Iterator[str]:
    if options.is_staged and site.runtime != "apptainer":
        yield (
            f"--stage needs Apptainer, and the runtime is {site.runtime!r}; remove it"
        )
    if profile.packages and site.runtime != "apptainer":
        yield (
            f"--packages {profile.packages} needs Apptainer, and the runtime is"
            f" {site.runtime!r}; remove it, and install these packages into"
            f" {_PACKAGE_TARGETS[site.runtime]}"
        )
    if profile.packages and set(profile.packages) & set(":,"):
        yield (
            f"--packages is {profile.packages!r}, but Apptainer's paths cannot contain"
            " : or ,; rename the file"
        )
    if options.collectives == "mpi" and profile.platform != "cpu":
        yield (
            "--collectives=mpi is for CPU devices, but this job uses GPUs, whose"
            " collectives are NCCL's; remove it, or use --platform=cpu"
        )


def _unrecoverable(
    topology: Topology, site: Site, options: JobOptions
) -> Iterator[str]:
    if not options.is_recovered:
        return
    spare, restarts = options.spare_nodes, options.max_restarts
    if restarts is not None and restarts < 1:
        yield (
            f"--max-restarts is {restarts}: without a restart there is nothing to"
            " recover; give 1 or more, or leave it and --spare-nodes out"
        )
    if spare is not None and not 0 <= spare <= topology.nodes:
        yield (
            f"--spare-nodes is {spare}, and {topology} runs on"
            f" {plural(topology.nodes, 'node')}: spare nodes are allocated and idle"
            f" until another one fails; give 0 to {topology.nodes}, most jobs need 1"
        )
    if site.runtime != "apptainer":
        yield (
            f"--max-restarts and --spare-nodes need Apptainer, and the runtime is"
            f" {site.runtime!r}; leave them out, or use --runtime=apptainer"
        )


def memory_bytes(memory: str) -> int:
    return int(memory[:-1]) * _BYTES[memory[-1]]


def notes(job: Job) -> Iterator[str]:
    """Warnings about valid but surprising settings."""
    signal = (job.profile.signal or "").partition("@")[0]
    if signal and signal not in _SAFE_SIGNALS and job.site.runtime == "apptainer":
        yield (
            f"--signal={job.profile.signal}: if Apptainer runs unprivileged, {signal}"
            " also ends the process that mounts the image; use URG, which ends no"
            " process and can be handled by the program (see docs/jobs.md)"
        )


def _variables(
    profile: Profile,
    site: Site,
    network: Network,
    topology: Topology,
    options: JobOptions,
) -> dict[str, Variable]:
    """The variables in the order of the script; the more specific source wins."""
    found: dict[str, Variable] = {}
    if profile.platform == "gpu":
        if site.network != _UNKNOWN_NETWORK:
            found[NETWORK_VARIABLE] = Variable(
                site.network, "the verdict compares it with the network in use"
            )
        # Jobs without GPUs need no settings of NCCL.
        found |= _with_reasons(network.environment)
    found |= _with_reasons(site.environment)
    if site.scratch:
        found["SCRATCH"] = Variable(site.scratch, "the site's scratch folder", True)
    if site.baseline:
        found["JAX_SIF_BASELINE"] = Variable(
            site.baseline, "performance baseline of this site, for the verdict", True
        )
    if profile.platform == "cpu":
        found |= {
            "JAX_PLATFORMS": Variable("cpu", "this job uses CPU devices"),
            PLATFORM_VARIABLE: Variable("cpu", "the verdict expects CPU devices"),
            "JAX_NUM_CPU_DEVICES": Variable(
                str(topology.devices_per_process), "CPU devices of each process"
            ),
        }
    if profile.packages:
        found[PACKAGES_VARIABLE] = Variable(
            profile.packages, "packages on top of the image (jax-sif packages)", True
        )
    if options.collectives == "mpi":
        found["JAX_CPU_COLLECTIVES_IMPLEMENTATION"] = Variable(
            "mpi", "through the site's MPI, by its MPItrampoline wrapper"
        )
    for name, value in profile.environment.items():
        found[name] = Variable(value, "set by the profile")
    return found


def _with_reasons(environment: Mapping[str, DocumentedValue]) -> dict[str, Variable]:
    return {name: Variable(r.value, r.reason) for name, r in environment.items()}
