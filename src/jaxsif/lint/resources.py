"""The nodes, tasks and GPUs that a job or step requests, as far as known."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxsif.lint.model import number
from jaxsif.lint.options import Option, Options

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
_SPREADING = (
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
class Gpus:
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


def count_gpus(text: str | None) -> Gpus | None:
    """The GPUs of `4`, `a100:4`, `a100:2,v100:1`; None for anything else."""
    if not text:
        return None
    counts = [part.rpartition(":") for part in text.split(",")]
    numbers = [number(count) for _, _, count in counts]
    if any(found is None for found in numbers):
        return None
    return Gpus(sum(filter(None, numbers)), any(kind for kind, _, _ in counts))


def count_gres(text: str | None) -> Gpus | None:
    """The GPUs of `gpu:a100:4,shard:2` or `cpu=2,gres/gpu=1`; None where there are none."""
    parts = [_GPU.fullmatch(part) for part in (text or "").split(",")]
    found = [part for part in parts if part is not None]
    if not found:
        return None
    return Gpus(
        sum(int(part["n"] or 1) for part in found), any(part["type"] for part in found)
    )


def job_shape(asked: Options) -> ResourceRequest:
    """The resources of a job's directives."""
    tasks, nodes, per_node = _tasks(asked)
    return _with_gpus(asked, nodes, tasks, per_node)


def step_shape(
    job: ResourceRequest, of_job: Options, asked: Options
) -> ResourceRequest:
    """The resources of a step: the job's, changed by srun's options."""
    if asked.is_open or asked.has("het-group"):
        return ResourceRequest(has_gpus=job.has_gpus)
    nodes, tasks, per_node = _step_tasks(job, of_job, asked)
    if asked.has(*GPU_OPTIONS):
        return _with_gpus(asked, nodes, tasks, per_node)
    return ResourceRequest(
        nodes,
        tasks,
        per_node,
        job.gpus_per_node,
        job.has_gpus,
        binding(asked) or job.binding,
    )


def _step_tasks(
    job: ResourceRequest, of_job: Options, asked: Options
) -> tuple[int | None, int | None, int | None]:
    if not asked.has(*TASK_OPTIONS):
        return job.nodes, job.tasks, job.tasks_per_node
    tasks = asked.number("ntasks")
    nodes = asked.number("nodes") if asked.has("nodes") else job.nodes
    per_node = asked.number("ntasks-per-node")
    if not asked.has("ntasks-per-node") and not asked.has("ntasks"):
        # As the job's variables hand it down to srun.
        per_node = of_job.number("ntasks-per-node")
        if of_job.has("ntasks"):
            tasks = job.tasks if nodes == job.nodes else None
            per_node = job.tasks_per_node if nodes == job.nodes else None
        elif per_node is None and nodes is not None:
            per_node = 1
    if asked.has("ntasks") and not asked.has("nodes") and tasks and nodes:
        nodes = min(nodes, tasks)
    if tasks is None and not asked.has("ntasks") and nodes and per_node:
        tasks = nodes * per_node
    return nodes, tasks, per_node or _quotient(tasks, nodes)


def _tasks(asked: Options) -> tuple[int | None, int | None, int | None]:
    """Tasks, nodes and tasks per node of a job."""
    nodes = asked.number("nodes")
    per_node = asked.number("ntasks-per-node")
    tasks = asked.number("ntasks")
    if not asked.has("ntasks"):
        tasks = _tasks_untold(asked, nodes, per_node)
    if not asked.has("nodes"):
        nodes = 1 if tasks == 1 or not asked.has(*_SPREADING) else None
    return tasks, nodes, per_node or _quotient(tasks, nodes)


def _tasks_untold(
    asked: Options, nodes: int | None, per_node: int | None
) -> int | None:
    if asked.has("ntasks-per-gpu", "ntasks-per-socket", "ntasks-per-core"):
        return None
    if asked.has("ntasks-per-node"):
        if asked.has("nodes"):
            return nodes * per_node if nodes and per_node else None
        return None if asked.has(*_SPREADING) else per_node
    if asked.has("gpus-per-task") and asked.has("gpus"):
        gpus = count_gpus(asked.text("gpus"))
        each = count_gpus(asked.text("gpus-per-task"))
        return _quotient(gpus.count, each.count) if gpus and each else None
    return nodes if asked.has("nodes") else 1


def _with_gpus(
    asked: Options, nodes: int | None, tasks: int | None, per_node: int | None
) -> ResourceRequest:
    has_gpus = _has_gpus(asked)
    return ResourceRequest(
        nodes,
        tasks,
        per_node,
        gpus_per_node(asked, nodes, per_node) if has_gpus else None,
        has_gpus,
        binding(asked),
    )


def gpus_per_node(
    asked: Options, nodes: int | None, tasks_per_node: int | None
) -> int | None:
    """GPUs per node, if the options define it."""
    if asked.has("gpus-per-node"):
        found = count_gpus(asked.text("gpus-per-node"))
        return found.count if found else None
    if found := count_gres(asked.text("gres")) or count_gres(
        asked.text("tres-per-node")
    ):
        return found.count
    if asked.has("gpus"):
        found = count_gpus(asked.text("gpus"))
        return _quotient(found.count, nodes) if found else None
    found = count_gpus(asked.text("gpus-per-task"))
    found = found or count_gres(asked.text("tres-per-task"))
    return found.count * tasks_per_node if found and tasks_per_node else None


def _has_gpus(asked: Options) -> bool:
    for name in ("gres", "tres-per-task", "tres-per-node"):
        found = count_gres(asked.text(name))
        if found.count if found else "gpu" in (asked.text(name) or ""):
            return True
    names = ("gpus-per-node", "gpus", "gpus-per-task", "gpus-per-socket")
    # --gpus=0 requests none.
    return any(asked.has(name) and asked.text(name) != "0" for name in names)


def binding(asked: Options) -> str:
    """The option that hides from a task the GPUs of the others, as it was written."""
    bound = asked.last("gpu-bind")
    if bound is not None:
        return (
            "" if (asked.text("gpu-bind") or "").endswith("none") else _written(bound)
        )
    each = asked.last("gpus-per-task")
    if each is None and count_gres(asked.text("tres-per-task")):
        each = asked.last("tres-per-task")
    return _written(each) if each else ""


def _written(option: Option) -> str:
    return f"{option.written}={option.value.text if option.value else ''}"


def _quotient(count: int | None, parts: int | None) -> int | None:
    if not count or not parts or count % parts:
        return None
    return count // parts
