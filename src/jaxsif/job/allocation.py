"""Compares Slurm's allocation with the requested topology, before the ranks start."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jaxsif.core import slurm_env
from jaxsif.core.errors import Problem
from jaxsif.core.hostlist import MAX_NAMES
from jaxsif.core.topology import Topology


def mismatches(environment: Mapping[str, str], topology: Topology) -> Iterator[Problem]:
    """Differences between the allocation and the topology.

    Args:
      environment: of the batch script; missing variables are not compared.
      topology: the requested one.
    """
    nodes = _number(environment, slurm_env.JOB_NODES)
    tasks = task_counts(environment.get(slurm_env.PROCESSES_PER_NODE_OLD, ""))
    if nodes is not None and nodes != topology.nodes:
        yield _mismatch(topology, f"{nodes} nodes", f"{topology.nodes}")
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
    """Compared only if GPUs were requested per node; otherwise Slurm distributes them."""
    if slurm_env.GPUS_PER_NODE not in environment:
        return
    here = _number(environment, slurm_env.GPUS_ON_NODE)
    if here is not None and here != topology.devices_per_node:
        yield _mismatch(
            topology,
            f"{here} GPUs on {environment.get(slurm_env.NODE_NAME, 'its first node')}",
            f"{topology.devices_per_node} on each node",
        )


def _mismatch(topology: Topology, got: str, asked: str) -> Problem:
    return Problem(
        "allocation-differs",
        f"the job has {got}, {topology} asks for {asked}",
        f"submit with --nodes={topology.nodes}"
        f" --ntasks-per-node={topology.processes_per_node}"
        f" --gpus-per-node={topology.devices_per_node}, or correct JAX_SIF_TOPOLOGY",
    )


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None
