"""The nodes, tasks and GPUs that a job or step requests, as far as known."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxsif.lint.model import number
from jaxsif.lint.options import CommandOption, CommandOptions

GPU_OPTIONS = (
    "gpus-per-node",
    "gres",
    "gpus",
    "gpus-per-task",
    "gpus-per-socket",
    "tres-per-task",
    "tres-per-node",
    "ntasks-per-gpu",
)
TASK_OPTIONS = ("ntasks-per-node", "ntasks", "nodes")
# With one of these and without --nodes, Slurm chooses the number of nodes.
_DISTRIBUTING_OPTIONS = (
    "ntasks",
    "gpus",
    "ntasks-per-gpu",
    "ntasks-per-socket",
    "nodelist",
    "nodefile",
)

_GPU = re.compile(
    r"(?:gres[/:])?gpu(?:[:/](?P<type>(?:(?![A-Za-z])[\w.-])*+[A-Za-z][\w.-]*))?"
    r"(?:[:=](?P<n>\d{1,9}))?"
)


@dataclass(frozen=True)
class GpuCount:
    """A requested number of GPUs; `is_typed` as in a100:4."""

    count: int
    is_typed: bool = False


@dataclass(frozen=True)
class ResourceRequest:
    """The numbers that follow from the options; None is unknown.

    `binding` is the option that gives each task GPUs of its own, as it was written.
    """

    nodes: int | None = None
    tasks: int | None = None
    tasks_per_node: int | None = None
    gpus_per_node: int | None = None
    has_gpus: bool = False
    binding: str = ""

    @property
    def has_several_tasks(self) -> bool:
        """Whether it certainly has them."""
        return self.tasks is not None and self.tasks > 1


def count_gpus(text: str | None) -> GpuCount | None:
    """The GPUs of `4`, `a100:4`, `a100:2,v100:1`; None for anything else."""
    if not text:
        return None
    counts = [part.rpartition(":") for part in text.split(",")]
    numbers = [number(count) for _, _, count in counts]
    if any(found is None for found in numbers):
        return None
    return GpuCount(sum(filter(None, numbers)), any(kind for kind, _, _ in counts))


def count_gres(text: str | None) -> GpuCount | None:
    """The GPUs of `gpu:a100:4,shard:2` or `cpu=2,gres/gpu=1`; None where there are none."""
    parts = [_GPU.fullmatch(part) for part in (text or "").split(",")]
    found = [part for part in parts if part is not None]
    if not found:
        return None
    return GpuCount(
        sum(int(part["n"] or 1) for part in found), any(part["type"] for part in found)
    )


def job_resources(requested: CommandOptions) -> ResourceRequest:
    """The resources of a job's directives."""
    tasks, nodes, per_node = _tasks(requested)
    return _with_gpus(requested, nodes, tasks, per_node)


def step_resources(
    job: ResourceRequest, job_options: CommandOptions, requested: CommandOptions
) -> ResourceRequest:
    """The resources of a step: the job's, changed by srun's options."""
    if requested.is_incomplete or requested.has("het-group"):
        return ResourceRequest(has_gpus=job.has_gpus)
    nodes, tasks, per_node = _step_tasks(job, job_options, requested)
    if requested.has(*GPU_OPTIONS):
        return _with_gpus(requested, nodes, tasks, per_node)
    return ResourceRequest(
        nodes,
        tasks,
        per_node,
        job.gpus_per_node,
        job.has_gpus,
        binding(requested) or job.binding,
    )


def _step_tasks(
    job: ResourceRequest, job_options: CommandOptions, requested: CommandOptions
) -> tuple[int | None, int | None, int | None]:
    if not requested.has(*TASK_OPTIONS):
        return job.nodes, job.tasks, job.tasks_per_node
    tasks = requested.number("ntasks")
    nodes = requested.number("nodes") if requested.has("nodes") else job.nodes
    per_node = requested.number("ntasks-per-node")
    if not requested.has("ntasks-per-node") and not requested.has("ntasks"):
        # As the job's variables hand it down to srun.
        per_node = job_options.number("ntasks-per-node")
        if job_options.has("ntasks"):
            tasks = job.tasks if nodes == job.nodes else None
            per_node = job.tasks_per_node if nodes == job.nodes else None
        elif per_node is None and nodes is not None:
            per_node = 1
    if requested.has("ntasks") and not requested.has("nodes") and tasks and nodes:
        nodes = min(nodes, tasks)
    if tasks is None and not requested.has("ntasks") and nodes and per_node:
        tasks = nodes * per_node
    return nodes, tasks, per_node or _quotient(tasks, nodes)


def _tasks(requested: CommandOptions) -> tuple[int | None, int | None, int | None]:
    """Tasks, nodes and tasks per node of a job."""
    nodes = requested.number("nodes")
    per_node = requested.number("ntasks-per-node")
    tasks = requested.number("ntasks")
    if not requested.has("ntasks"):
        tasks = _default_tasks(requested, nodes, per_node)
    if not requested.has("nodes"):
        nodes = 1 if tasks == 1 or not requested.has(*_DISTRIBUTING_OPTIONS) else None
    return tasks, nodes, per_node or _quotient(tasks, nodes)


def _default_tasks(
    requested: CommandOptions, nodes: int | None, per_node: int | None
) -> int | None:
    if requested.has("ntasks-per-gpu", "ntasks-per-socket", "ntasks-per-core"):
        return None
    if requested.has("ntasks-per-node"):
        if requested.has("nodes"):
            return nodes * per_node if nodes and per_node else None
        return None if requested.has(*_DISTRIBUTING_OPTIONS) else per_node
    if requested.has("gpus-per-task") and requested.has("gpus"):
        gpus = count_gpus(requested.text("gpus"))
        each = count_gpus(requested.text("gpus-per-task"))
        return _quotient(gpus.count, each.count) if gpus and each else None
    return nodes if requested.has("nodes") else 1


def _with_gpus(
    requested: CommandOptions,
    nodes: int | None,
    tasks: int | None,
    per_node: int | None,
) -> ResourceRequest:
    has_gpus = _has_gpus(requested)
    return ResourceRequest(
        nodes,
        tasks,
        per_node,
        gpus_per_node(requested, nodes, per_node) if has_gpus else None,
        has_gpus,
        binding(requested),
    )


def gpus_per_node(
    requested: CommandOptions, nodes: int | None, tasks_per_node: int | None
) -> int | None:
    """GPUs per node, if the options define it."""
    if requested.has("gpus-per-node"):
        found = count_gpus(requested.text("gpus-per-node"))
        return found.count if found else None
    if found := count_gres(requested.text("gres")) or count_gres(
        requested.text("tres-per-node")
    ):
        return found.count
    if requested.has("gpus"):
        found = count_gpus(requested.text("gpus"))
        return _quotient(found.count, nodes) if found else None
    found = count_gpus(requested.text("gpus-per-task"))
    found = found or count_gres(requested.text("tres-per-task"))
    return found.count * tasks_per_node if found and tasks_per_node else None


def _has_gpus(requested: CommandOptions) -> bool:
    for name in ("gres", "tres-per-task", "tres-per-node"):
        found = count_gres(requested.text(name))
        if found.count if found else "gpu" in (requested.text(name) or ""):
            return True
    names = ("gpus-per-node", "gpus", "gpus-per-task", "gpus-per-socket")
    # --gpus=0 requests none.
    return any(requested.has(name) and requested.text(name) != "0" for name in names)


def binding(requested: CommandOptions) -> str:
    """The option that hides from a task the GPUs of the others, as it was written."""
    bound = requested.last("gpu-bind")
    if bound is not None:
        return (
            ""
            if (requested.text("gpu-bind") or "").endswith("none")
            else _written(bound)
        )
    each = requested.last("gpus-per-task")
    if each is None and count_gres(requested.text("tres-per-task")):
        each = requested.last("tres-per-task")
    return _written(each) if each else ""


def _written(option: CommandOption) -> str:
    return f"{option.written}={option.value.text if option.value else ''}"


def _quotient(count: int | None, parts: int | None) -> int | None:
    if not count or not parts or count % parts:
        return None
    return count // parts
