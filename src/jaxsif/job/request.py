"""A job as somebody wants it: profile, site and options put together, and refused when it cannot be; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from jaxsif.core.errors import UsageError
from jaxsif.core.packages import PACKAGES_VARIABLE
from jaxsif.core.topology import Topology, parse_topology
from jaxsif.job.configs import in_words
from jaxsif.job.schema import DocumentedValue, Network, Profile, ResourceRequest, Site

_BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

# Runs when nobody names a program: the check with which a cluster is accepted.
_DIAGNOSTICS = "/opt/jax-sif/diag/"
_ACCEPTANCE = ("python", f"{_DIAGNOSTICS}allreduce.py")

# In job/networks the one that says nothing.
_UNKNOWN_NETWORK = "unknown"

# Signals that end no process by themselves.
_HARMLESS = ("URG", "WINCH", "CONT", "CHLD")

# Where packages belong when nothing can be put on top of the image.
_OWN_PLACES = {
    "pyxis": "an image of your own",
    "podman-hpc": "an image of your own",
    "bare": "the Python environment that is active",
}

# Options that have another name than the field.
_OPTIONS = {
    "name": "job-name",
    "time_limit": "time",
    "cpus_per_process": "cpus-per-task",
    "environment": "env",
    "packages": "env",
    "options": "sbatch",
}

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class Variable:
    """A variable of the job's environment, and why it has its value.

    `is_expanded`: whether other variables in the value, as `$USER`, get their values.
    """

    value: str
    why: str
    is_expanded: bool = False


@dataclass(frozen=True)
class Job:
    """All that a script is made of. `program` are the words of the command."""

    name: str
    output: str
    topology: Topology
    profile: Profile
    site: Site
    program: tuple[str, ...]
    # Whether it is a program of the kit's, which tells the judge everything.
    is_diagnostic: bool
    variables: Mapping[str, Variable]
    made_by: str
    # Where the verdict is written for programs.
    verdict: str | None = None
    is_staged: bool = False
    needs_mpi: bool = False

    @property
    def binds(self) -> tuple[str, ...]:
        """Folders that the container shall see, as SOURCE or SOURCE:TARGET."""
        scratch = self.site.scratch
        return (*self.site.binds, *((scratch,) if scratch else ()))


@dataclass(frozen=True)
class JobRequest:
    """What was asked for on the command line, beside profile and site."""

    program: tuple[str, ...] = ()
    output: str = "%x-%j.out"
    verdict: str | None = None
    made_by: str = "jax-sif job"
    divides: tuple[int, ...] = ()
    is_staged: bool = False
    collectives: str = "gloo"


def changed(kind: type[T], value: T, changes: Mapping[str, Any]) -> T:
    """A profile or site with other values. Raises UsageError with the option that is
    wrong."""
    fields = {**msgspec.to_builtins(value), **changes}
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        named = re.search(r"\$\.([a-z_]+)", place)
        field = named[1] if named else place
        option = _OPTIONS.get(field, field.replace("_", "-"))
        raise UsageError(
            f"--{option} is {changes.get(field)!r}: {in_words(what)}"
        ) from error


def topology_of(profile: Profile) -> Topology:
    """Raises UsageError with the arithmetic when a label is impossible."""
    shape = profile.topology
    if isinstance(shape, ResourceRequest):
        return Topology(
            shape.nodes, shape.processes_per_node, shape.devices_per_process
        )
    return parse_topology(shape)


def build_job(profile: Profile, site: Site, network: Network, wish: JobRequest) -> Job:
    """Raises UsageError, with the numbers, for what cannot be."""
    topology = topology_of(profile)
    program = _command(wish.program or profile.program or _ACCEPTANCE)
    for complaint in (
        *_indivisible(topology, wish.divides),
        *_too_large(topology, profile, site),
        *_mismatched(profile, site, wish),
    ):
        raise UsageError(complaint)
    return Job(
        name=profile.name or _stem(program),
        output=wish.output,
        topology=topology,
        profile=profile,
        site=site,
        program=program,
        # Behind it stand arguments, if any.
        is_diagnostic=any(word.startswith(_DIAGNOSTICS) for word in program[:2]),
        variables=_variables(profile, site, network, topology, wish),
        made_by=wish.made_by,
        verdict=wish.verdict,
        is_staged=wish.is_staged,
        needs_mpi=wish.collectives == "mpi",
    )


def _command(program: Sequence[str]) -> tuple[str, ...]:
    """A Python file is run by Python, anything else is a command of its own."""
    if program and program[0].endswith(".py"):
        return ("python", *program)
    return tuple(program)


def _stem(program: Sequence[str]) -> str:
    """`train` of `python src/train.py --epochs 3`; a line, whatever a file is called."""
    file = next((w for w in program if w.endswith(".py")), program[0])
    name = file.rpartition("/")[2].removesuffix(".py")
    return "".join(c if c.isprintable() else "_" for c in name)


def _indivisible(topology: Topology, numbers: Sequence[int]) -> Iterator[str]:
    for number in numbers:
        if number % topology.devices:
            below = number // topology.devices * topology.devices
            near = [n for n in (below, below + topology.devices) if n]
            yield (
                f"{number} does not divide over the {topology.devices} devices of"
                f" {topology.label} ({number} / {topology.devices} ="
                f" {number / topology.devices:g}); the nearest that do are"
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
            f" {profile.cpus_per_process}), this site's nodes have {node.cpus}; say"
            f" --cpus-per-task={max(node.cpus // per_node, 1)}"
        )
    if node.memory and profile.memory_per_process:
        needed = per_node * memory_bytes(profile.memory_per_process)
        if needed > memory_bytes(node.memory):
            yield (
                f"{topology} needs {per_node} processes x {profile.memory_per_process}"
                f" of memory on a node, this site's nodes have {node.memory}; say a"
                " smaller --memory-per-process"
            )


def _fewer_per_node(topology: Topology, gpus: int) -> str:
    """A label with as many devices and processes, on nodes with fewer GPUs."""
    for nodes in range(topology.nodes, topology.processes + 1):
        fits = topology.devices <= nodes * gpus
        if fits and not topology.processes % nodes:
            return f"say G{topology.devices}N{nodes}p{topology.processes}"
    return "say a topology with fewer devices in each process"


def _mismatched(profile: Profile, site: Site, wish: JobRequest) -> Iterator[str]:
    if wish.is_staged and site.runtime != "apptainer":
        yield (
            f"--stage copies a SIF file to the nodes, and the runtime is {site.runtime!r};"
            " leave it out"
        )
    if profile.packages and site.runtime != "apptainer":
        yield (
            f"--env {profile.packages} is a file that Apptainer mounts, and the runtime"
            f" is {site.runtime!r}; leave it out, and install these packages into"
            f" {_OWN_PLACES[site.runtime]}"
        )
    if profile.packages and set(profile.packages) & set(":,"):
        yield (
            f"--env is {profile.packages!r}, and Apptainer takes no path with : or ,;"
            " give the file another name"
        )
    if wish.collectives == "mpi" and profile.platform != "cpu":
        yield (
            "--collectives=mpi is for CPU devices, and this job asks for GPUs, whose"
            " collectives are NCCL's; leave it out, or say --platform=cpu"
        )


def memory_bytes(memory: str) -> int:
    return int(memory[:-1]) * _BYTES[memory[-1]]


def notes(job: Job) -> Iterator[str]:
    """What is allowed and may surprise."""
    signal = (job.profile.signal or "").partition("@")[0]
    if signal and signal not in _HARMLESS and job.site.runtime == "apptainer":
        yield (
            f"--signal={job.profile.signal} reaches the process, too, that holds the"
            f" image's mount where Apptainer runs without privilege, and {signal} ends"
            " it; URG ends nobody and a handler in the program gets it (see docs/jobs.md)"
        )


def _variables(
    profile: Profile, site: Site, network: Network, topology: Topology, wish: JobRequest
) -> dict[str, Variable]:
    """In the order of the script; what stands nearer to the job comes in the place of
    what stands farther."""
    found: dict[str, Variable] = {}
    if profile.platform == "gpu":
        if site.network != _UNKNOWN_NETWORK:
            found["JAX_SIF_NETWORK"] = Variable(
                site.network, "the verdict compares it with the network that was used"
            )
        # Nobody sends NCCL's settings along with a job that has no GPU.
        found |= _reasoned(network.environment)
    found |= _reasoned(site.environment)
    if site.scratch:
        found["SCRATCH"] = Variable(site.scratch, "the site's scratch folder", True)
    if site.baseline:
        found["JAX_SIF_BASELINE"] = Variable(
            site.baseline, "speeds that this site has seen, for the verdict", True
        )
    if profile.platform == "cpu":
        found |= {
            "JAX_PLATFORMS": Variable("cpu", "this job computes on CPU devices"),
            "JAX_SIF_PLATFORM": Variable("cpu", "the verdict expects CPU devices"),
            "JAX_NUM_CPU_DEVICES": Variable(
                str(topology.devices_per_process), "so many in each process"
            ),
        }
    if profile.packages:
        found[PACKAGES_VARIABLE] = Variable(
            profile.packages, "packages on top of the image (jax-sif env)", True
        )
    if wish.collectives == "mpi":
        found["JAX_CPU_COLLECTIVES_IMPLEMENTATION"] = Variable(
            "mpi", "through the site's MPI, by its MPItrampoline wrapper"
        )
    for name, value in profile.environment.items():
        found[name] = Variable(value, "asked for by the profile")
    return found


def _reasoned(environment: Mapping[str, DocumentedValue]) -> dict[str, Variable]:
    return {name: Variable(r.value, r.why) for name, r in environment.items()}
