"""Nodes, tasks and GPUs that do not match each other, or not JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.lint.launches import Launch
from jaxsif.lint.options import Options
from jaxsif.lint.rule import ERROR, WARNING, Violation, rule
from jaxsif.lint.script import Script
from jaxsif.lint.shape import GPU_OPTIONS, TASK_OPTIONS, count_gpus, count_gres

_JAX_CLUSTER = "jax/_src/clusters/slurm_cluster.py"


@rule(
    "tasks-conflict",
    ERROR,
    fix="give --nodes and --ntasks-per-node, and leave --ntasks out",
    why="with fewer tasks than places the nodes get unequal shares, with more Slurm"
    " refuses the job",
    source="tried with Slurm 26.05",
)
def tasks_conflict(script: Script) -> Iterator[Violation]:
    """--nodes, --ntasks-per-node and --ntasks do not multiply"""
    for asked in _asked(script):
        nodes, tasks = asked.number("nodes"), asked.number("ntasks")
        each = asked.number("ntasks-per-node")
        if nodes and tasks and each and nodes * each != tasks:
            text = f"{nodes} nodes x {each} tasks a node = {nodes * each}, not {tasks}"
            yield Violation(_line(asked, "ntasks"), text)


@rule(
    "tasks-uneven",
    WARNING,
    fix="ask for a number of tasks that the nodes divide, with --ntasks-per-node",
    why="JAX wants the same number of devices in every process and node: uneven shares"
    " end in an AssertionError, or in nodes that wait",
    source="measured with JAX 0.10.2: uneven devices fail pmap",
)
def tasks_uneven(script: Script) -> Iterator[Violation]:
    """The tasks are not divisible by the nodes"""
    for asked in _asked(script):
        nodes, tasks = asked.number("nodes"), asked.number("ntasks")
        if nodes and tasks and tasks % nodes and not asked.has("ntasks-per-node"):
            text = f"{tasks} tasks do not divide over {nodes} nodes"
            yield Violation(_line(asked, "ntasks"), text)


@rule(
    "gpus-conflict",
    ERROR,
    fix="give --gpus-per-node alone",
    why="Slurm refuses counts that contradict each other, and spreads --gpus unevenly"
    " where it can",
    source="tried with Slurm 26.05: Invalid generic resource (gres) specification",
)
def gpus_conflict(script: Script) -> Iterator[Violation]:
    """The counts of GPUs contradict each other, or are not divisible by the nodes"""
    asked, nodes = script.directives.options, script.shape.nodes
    total = count_gpus(asked.text("gpus"))
    each = count_gpus(asked.text("gpus-per-node"))
    of_task = count_gpus(asked.text("gpus-per-task"))
    gres = count_gres(asked.text("gres"))
    if total and each and nodes and total.count != nodes * each.count:
        text = f"{nodes} nodes x {each.count} GPUs = {nodes * each.count}"
        yield Violation(
            _line(asked, "gpus"), f"{text}, not {total.count} as --gpus says"
        )
    elif total and nodes and total.count % nodes:
        text = f"{total.count} GPUs do not divide over {nodes} nodes"
        yield Violation(_line(asked, "gpus"), text)
    tasks = asked.number("ntasks")
    if total and of_task and tasks and total.count != tasks * of_task.count:
        text = f"{tasks} tasks x {of_task.count} GPUs = {tasks * of_task.count}"
        yield Violation(_line(asked, "gpus-per-task"), f"{text}, not {total.count}")
    if each and gres and each.count != gres.count:
        text = f"--gres asks for {gres.count} GPUs a node, --gpus-per-node for {each.count}"
        yield Violation(_line(asked, "gres"), text)


@rule(
    "gpus-tasks",
    ERROR,
    fix="one task a GPU: --ntasks-per-node as large as --gpus-per-node",
    why="under Slurm JAX gives the task of local rank i the GPU of ordinal i, so tasks"
    " without a GPU of their own fail; uneven shares leave GPUs idle",
    source=f"jax #29669; {_JAX_CLUSTER}",
)
def gpus_tasks(script: Script) -> Iterator[Violation]:
    """The tasks of a node cannot share its GPUs evenly"""
    for launch in _on_gpus(script):
        gpus, tasks = launch.shape.gpus_per_node, launch.shape.tasks_per_node
        if gpus and tasks and gpus % tasks:
            text = (
                f"{tasks} tasks on a node with {gpus} {'GPU' if gpus == 1 else 'GPUs'}"
            )
            yield Violation(_line_of(script, launch, *TASK_OPTIONS, *GPU_OPTIONS), text)


@rule(
    "gpus-idle",
    WARNING,
    fix="one task a GPU, or let the program start through `singularity run` of this kit's"
    " image, or give it JAX_LOCAL_DEVICE_IDS or local_device_ids=",
    why="under Slurm jax.distributed.initialize() takes one GPU per process, that of its"
    " local rank; the others stay idle, and nothing says so",
    source=f"jax #16788; {_JAX_CLUSTER}",
)
def gpus_idle(script: Script) -> Iterator[Violation]:
    """A task has several GPUs, and plain JAX takes one of them"""
    for launch in _on_gpus(script):
        shape = launch.shape
        gpus, tasks = shape.gpus_per_node, shape.tasks_per_node
        if (
            shape.has_several_tasks
            and (gpus and tasks and gpus > tasks and not gpus % tasks)
            and not shape.binding
            and not _chooses_devices(script, launch)
        ):
            text = (
                f"{gpus // tasks} GPUs for each task, and plain JAX takes one of them"
            )
            yield Violation(_line_of(script, launch, *TASK_OPTIONS, *GPU_OPTIONS), text)


@rule(
    "gpu-binding",
    ERROR,
    fix="ask with --gpus-per-node and without binding; or start through `singularity run`"
    " of this kit's image, which sets JAX_LOCAL_DEVICE_IDS",
    why="each task then sees only its own GPU, as ordinal 0, while JAX asks for the"
    " ordinal of its local rank: invalid device ordinal on every rank but the first",
    source="jax #23452, jax #28194",
)
def gpu_binding(script: Script) -> Iterator[Violation]:
    """Each task sees only its own GPUs, and plain JAX selects a different one"""
    for launch in _on_gpus(script):
        shape = launch.shape
        has_other_ranks = shape.tasks_per_node is None or shape.tasks_per_node > 1
        if (
            shape.binding
            and has_other_ranks
            and shape.has_several_tasks
            and not _chooses_devices(script, launch)
        ):
            names = ("gpus-per-task", "gpu-bind", "tres-per-task")
            text = f"{shape.binding} hides the GPUs of the other tasks from each"
            yield Violation(_line_of(script, launch, *names), text)


def _asked(script: Script) -> Iterator[Options]:
    """What the job asks for, then each step."""
    if not script.directives.is_heterogeneous:
        yield script.directives.options
    for launch in script.steps:
        if not launch.is_small:
            yield launch.srun


def _line(asked: Options, name: str) -> int:
    option = asked.last(name)
    return option.line if option else 1


def _line_of(script: Script, launch: Launch, *names: str) -> int:
    """Where the number stands that has to change: at srun, or in a directive."""
    is_own = launch.shape != script.shape
    if is_own and launch.srun.has(*names):
        return launch.line
    lines = (script.directives.line_of(name) for name in names)
    return next(filter(None, lines), launch.line)


def _on_gpus(script: Script) -> Iterator[Launch]:
    """The steps of JAX that are meant for GPUs."""
    for launch in script.jax_launches:
        if launch.is_step and launch.shape.has_gpus and not launch.may_be_on_cpu:
            yield launch


def _chooses_devices(script: Script, launch: Launch) -> bool:
    return "JAX_LOCAL_DEVICE_IDS" in launch.variables or script.passes_entry(launch)


RULES = (
    tasks_conflict,
    tasks_uneven,
    gpus_conflict,
    gpus_tasks,
    gpus_idle,
    gpu_binding,
)
