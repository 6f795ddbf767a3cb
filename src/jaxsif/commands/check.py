"""`jax-sif check`: end a job in its first second if it cannot work."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jaxsif.commands.baseline import BASELINE_VARIABLE, requested_baseline
from jaxsif.core import slurm_env
from jaxsif.core.errors import FAIL, PASS, KitError, Problem, UsageError
from jaxsif.core.hostlist import MAX_NAMES
from jaxsif.core.image import ANY_IMAGE_VARIABLE
from jaxsif.core.slurm_env import JOB_ID
from jaxsif.core.topology import Topology

_NAMED_BY = "jax-sif job --packages FILE"


def main(arguments: Sequence[str]) -> int:
    """Parse the options and run the checks."""
    parser = argparse.ArgumentParser(
        prog="jax-sif check",
        description="Compares a job's allocation with $JAX_SIF_TOPOLOGY before the"
        " ranks start. Prints nothing on success.",
        epilog="Exit status: 0 success, 1 problems found, 2 usage error.",
    )
    parser.add_argument(
        "program", nargs="?", help="a file that must be visible in the container"
    )
    parser.add_argument(
        "--packages", metavar="FILE", help="packages that must fit the image"
    )
    parser.add_argument(
        "--spare-nodes",
        type=int,
        default=0,
        metavar="N",
        help="nodes besides those of the topology (jax-sif job --spare-nodes)",
    )
    chosen = parser.parse_args(arguments)
    return check(
        chosen.program, packages=chosen.packages, spare_nodes=chosen.spare_nodes
    )


def check(
    program: str | None,
    environment: Mapping[str, str] = os.environ,
    packages: str | None = None,
    spare_nodes: int = 0,
) -> int:
    """Print a verdict if there is a problem, otherwise nothing.

    Running this code already proves that the image and its runtime work.
    """
    from jaxsif.core.evidence import Finding
    from jaxsif.core.topology import TOPOLOGY_VARIABLE, parse_topology
    from jaxsif.verdict import render
    from jaxsif.verdict.verdict import Verdict

    if JOB_ID not in environment:
        raise UsageError(
            "jax-sif check compares a job's allocation with the requested topology, but"
            " this is not a job; use it in a job script (jax-sif job prints one)"
        )
    label = environment.get(TOPOLOGY_VARIABLE)
    if not label:
        raise UsageError(
            f"{TOPOLOGY_VARIABLE} is not set; set it to the job's topology: export"
            f" {TOPOLOGY_VARIABLE}=G8N2p4"
        )
    topology = parse_topology(label)
    problems = [
        *mismatches(environment, topology, spare_nodes),
        *_packages_incompatible(packages, environment),
        *_program_missing(program),
        *_baseline_unreadable(environment),
    ]
    if not problems:
        return PASS
    findings = tuple(Finding(t.kind, t.text, t.remedy) for t in problems)
    sys.stdout.write(render.text(Verdict("", topology, {}, findings, FAIL)))
    return FAIL


def _program_missing(program: str | None) -> Iterator[Problem]:
    if program is not None and not Path(program).is_file():
        yield Problem(
            "program-missing",
            f"{program!r} does not exist in the container (working directory"
            f" {os.getcwd()!r})",
            "submit from the program's directory, or mount its directory in the"
            " container (binds of the site, APPTAINER_BIND)",
        )


def _baseline_unreadable(environment: Mapping[str, str]) -> Iterator[Problem]:
    """The verdict would report it as well, but only after the ranks have finished."""
    try:
        requested_baseline(None, environment)
    except KitError as error:
        yield Problem(
            "baseline-unreadable", str(error), f"or unset {BASELINE_VARIABLE}"
        )


def _packages_incompatible(
    packages: str | None, environment: Mapping[str, str]
) -> Iterator[Problem]:
    if packages is None:
        return
    from jaxsif.overlay.create import read_image
    from jaxsif.overlay.manifest import incompatibilities, read

    is_any_image = environment.get(ANY_IMAGE_VARIABLE) == "1"
    try:
        made_for = read(Path(packages)).image
    except KitError as error:
        yield Problem(
            "packages-incompatible",
            str(error),
            f"give the job another file: {_NAMED_BY}",
        )
        return
    yield from incompatibilities(made_for, read_image(), is_any_image=is_any_image)


def mismatches(
    environment: Mapping[str, str], topology: Topology, spare_nodes: int = 0
) -> Iterator[Problem]:
    """Differences between the allocation and the topology.

    Args:
      environment: of the batch script; missing variables are not compared.
      topology: the requested one.
      spare_nodes: the nodes of the allocation that it does not need.
    """
    nodes = _number(environment, slurm_env.JOB_NODES)
    tasks = task_counts(environment.get(slurm_env.PROCESSES_PER_NODE_OLD, ""))
    if nodes is not None and nodes != topology.nodes + spare_nodes:
        spare = f" and {spare_nodes} to spare" if spare_nodes else ""
        yield _mismatch(
            topology, f"{nodes} nodes", f"{topology.nodes}{spare}", spare_nodes
        )
    elif tasks and set(tasks) != {topology.processes_per_node}:
        spread = ", ".join(map(str, tasks[:8])) + (", ..." if len(tasks) > 8 else "")
        yield _mismatch(
            topology,
            f"{sum(tasks)} processes ({spread} on its nodes)",
            f"{topology.processes} ({topology.processes_per_node} on each)",
        )
    yield from _gpus(environment, topology)


def task_counts(text: str) -> list[int]:
    """Parse Slurm's `4(x2),1` as [4, 4, 1]; an empty list if it is malformed."""
    counts: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"(\d{1,7})(?:\(x(\d{1,6})\))?", item)
        if match is None or len(counts) > MAX_NAMES:
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _gpus(environment: Mapping[str, str], topology: Topology) -> Iterator[Problem]:
    """Compared only if GPUs were requested per node, and not left to Slurm."""
    if slurm_env.GPUS_PER_NODE not in environment:
        return
    here = _number(environment, slurm_env.GPUS_ON_NODE)
    if here is not None and here != topology.devices_per_node:
        yield _mismatch(
            topology,
            f"{here} GPUs on {environment.get(slurm_env.NODE_NAME, 'its first node')}",
            f"{topology.devices_per_node} on each node",
        )


def _mismatch(
    topology: Topology, got: str, asked: str, spare_nodes: int = 0
) -> Problem:
    return Problem(
        "allocation-differs",
        f"the job has {got}, {topology} asks for {asked}",
        f"submit with --nodes={topology.nodes + spare_nodes}"
        f" --ntasks-per-node={topology.processes_per_node}"
        f" --gpus-per-node={topology.devices_per_node}, or correct JAX_SIF_TOPOLOGY",
    )


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None
