"""The nodes, tasks and GPUs that a job or step requests, as far as known."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxsif.lint.model import number
from jaxsif.lint.options import ParsedOptions

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

_GRES_RE = re.compile(
    r"(?:gres[/:])?gpu(?:[:/](?P<type>(?:(?![A-Za-z])[\w.-])*+[A-Za-z][\w.-]*))?"
    r"(?:[:=](?P<count>\d{1,9}))?"
)


@dataclass(frozen=True)
class GpuCount:
    """A requested number of GPUs; `is_typed` as in a100:4."""

    count: int
    is_typed: bool = False


@dataclass(frozen=True)
class ResourceRequest:
    """The resources that follow from the options; None is unknown.

    Attributes:
      nodes: number of nodes.
      tasks: number of tasks in all.
      tasks_per_node: the same of each node.
      gpus_per_node: number of GPUs of each node.
      has_gpus: whether any GPU is requested.
      binding: the option, as written, that gives each task its own GPUs; "" if none.
      visible_gpus: how many of them a task sees if this is bound.
    """

    nodes: int | None = None
    tasks: int | None = None
    tasks_per_node: int | None = None
    gpus_per_node: int | None = None
    has_gpus: bool = False
    binding: str = ""
    visible_gpus: int | None = None

    @property
    def has_several_tasks(self) -> bool:
        """Whether there is certainly more than one task."""
        if self.tasks is not None:
            return self.tasks > 1
        return any(n is not None and n > 1 for n in (self.nodes, self.tasks_per_node))


UNKNOWN = ResourceRequest()


def count_gpus(text: str | None) -> GpuCount | None:
    """Return the GPUs of `4`, `a100:4`, `a100:2,v100:1`; None for anything else."""
    parts = [part.rpartition(":") for part in (text or "").split(",")]
    counts = [number(count) for _, _, count in parts]
    if None in counts:
        return None
    return GpuCount(sum(filter(None, counts)), any(kind for kind, _, _ in parts))


def count_gres(text: str | None) -> GpuCount | None:
    """Return the GPUs of `gpu:a100:4,shard:2` or `cpu=2,gres/gpu=1`, if any."""
    matches = filter(None, map(_GRES_RE.fullmatch, (text or "").split(",")))
    gpus = [(int(match["count"] or 1), bool(match["type"])) for match in matches]
    if not gpus:
        return None
    return GpuCount(sum(count for count, _ in gpus), any(typed for _, typed in gpus))


def job_resources(requested: ParsedOptions) -> ResourceRequest:
    """Return the resources of a job, given the options of its directives."""
    nodes = requested.number("nodes")
    per_node = requested.number("ntasks-per-node")
    tasks = requested.number("ntasks")
    if not requested.has("ntasks"):
        tasks = _default_tasks(requested, nodes, per_node)
    if not requested.has("nodes"):
        nodes = 1 if tasks == 1 or not requested.has(*_DISTRIBUTING_OPTIONS) else None
    return _with_gpus(requested, nodes, tasks, per_node or _quotient(tasks, nodes))


def _default_tasks(
    requested: ParsedOptions, nodes: int | None, per_node: int | None
) -> int | None:
    if requested.has("ntasks-per-gpu", "ntasks-per-socket", "ntasks-per-core"):
        return None
    if requested.has("ntasks-per-node"):
        if requested.has("nodes"):
            return nodes * per_node if nodes and per_node else None
        return None if requested.has(*_DISTRIBUTING_OPTIONS) else per_node
    if requested.has("gpus-per-task") and requested.has("gpus"):
        gpus = count_gpus(requested.text("gpus"))
        per_task = count_gpus(requested.text("gpus-per-task"))
        return _quotient(gpus.count, per_task.count) if gpus and per_task else None
    return nodes if requested.has("nodes") else 1


def step_resources(
    job: ResourceRequest, job_options: ParsedOptions, requested: ParsedOptions
) -> ResourceRequest:
    """Return the resources of a step: the job's, changed by srun's options."""
    if requested.is_incomplete:
        return ResourceRequest(has_gpus=job.has_gpus)
    nodes, tasks, per_node = _step_tasks(job, job_options, requested)
    if requested.has(*GPU_OPTIONS):
        return _with_gpus(requested, nodes, tasks, per_node)
    binding = _binding(requested) or job.binding
    visible = _visible_gpus(requested) if _binding(requested) else job.visible_gpus
    return ResourceRequest(
        nodes, tasks, per_node, job.gpus_per_node, job.has_gpus, binding, visible
    )


def _step_tasks(
    job: ResourceRequest, job_options: ParsedOptions, requested: ParsedOptions
) -> tuple[int | None, int | None, int | None]:
    """Return nodes, tasks and tasks per node of a step."""
    if not requested.has(*TASK_OPTIONS):
        return job.nodes, job.tasks, job.tasks_per_node
    tasks = requested.number("ntasks")
    nodes = requested.number("nodes") if requested.has("nodes") else job.nodes
    per_node = requested.number("ntasks-per-node")
    if not requested.has("ntasks-per-node", "ntasks"):
        # srun takes it from the job's variables.
        per_node = job_options.number("ntasks-per-node")
        if job_options.has("ntasks"):
            is_as_job = nodes == job.nodes
            tasks = job.tasks if is_as_job else None
            per_node = job.tasks_per_node if is_as_job else None
        elif per_node is None and nodes is not None:
            per_node = 1
    if requested.has("ntasks") and not requested.has("nodes") and tasks and nodes:
        nodes = min(nodes, tasks)
    if tasks is None and not requested.has("ntasks") and nodes and per_node:
        tasks = nodes * per_node
    return nodes, tasks, per_node or _quotient(tasks, nodes)


def _with_gpus(
    requested: ParsedOptions,
    nodes: int | None,
    tasks: int | None,
    per_node: int | None,
) -> ResourceRequest:
    has_gpus = _has_gpus(requested)
    gpus = _gpus_per_node(requested, nodes, per_node) if has_gpus else None
    return ResourceRequest(
        nodes,
        tasks,
        per_node,
        gpus,
        has_gpus,
        _binding(requested),
        _visible_gpus(requested),
    )


def _gpus_per_node(
    requested: ParsedOptions, nodes: int | None, tasks_per_node: int | None
) -> int | None:
    if requested.has("gpus-per-node"):
        per_node = count_gpus(requested.text("gpus-per-node"))
        return per_node.count if per_node else None
    for name in ("gres", "tres-per-node"):
        if per_node := count_gres(requested.text(name)):
            return per_node.count
    if requested.has("gpus"):
        total = count_gpus(requested.text("gpus"))
        return _quotient(total.count, nodes) if total else None
    per_task = count_gpus(requested.text("gpus-per-task"))
    per_task = per_task or count_gres(requested.text("tres-per-task"))
    return per_task.count * tasks_per_node if per_task and tasks_per_node else None


def _has_gpus(requested: ParsedOptions) -> bool:
    for name in ("gres", "tres-per-task", "tres-per-node"):
        gpus = count_gres(requested.text(name))
        if gpus.count if gpus else "gpu" in (requested.text(name) or ""):
            return True
    names = ("gpus-per-node", "gpus", "gpus-per-task", "gpus-per-socket")
    # --gpus=0 requests none.
    return any(requested.has(name) and requested.text(name) != "0" for name in names)


def _binding(requested: ParsedOptions) -> str:
    """Return the option, as written, that hides other tasks' GPUs from a task."""
    option = requested.last("gpu-bind")
    if option is not None:
        if (requested.text("gpu-bind") or "").endswith("none"):
            return ""
    elif requested.has("gpus-per-task"):
        option = requested.last("gpus-per-task")
    elif count_gres(requested.text("tres-per-task")):
        option = requested.last("tres-per-task")
    if option is None:
        return ""
    return f"{option.written}={option.value.text if option.value else ''}"


def _visible_gpus(requested: ParsedOptions) -> int | None:
    """Return how many GPUs a task sees that is bound to its own; None if unknown."""
    if requested.has("gpu-bind"):
        binding = requested.text("gpu-bind") or ""
        kind, _, value = binding.removeprefix("verbose,").partition(":")
        if kind == "map_gpu":
            return 1
        # `single:2` means two tasks on each GPU.
        return {"single": 1, "per_task": number(value)}.get(kind)
    per_task = count_gpus(requested.text("gpus-per-task"))
    per_task = per_task or count_gres(requested.text("tres-per-task"))
    return per_task.count if per_task else None


def _quotient(count: int | None, parts: int | None) -> int | None:
    if not count or not parts or count % parts:
        return None
    return count // parts
