"""Rules for nodes, tasks and GPUs, and for srun."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.core import slurm_env
from jaxsif.lint.options import ParsedOptions
from jaxsif.lint.programs import MPI_LAUNCHERS
from jaxsif.lint.resources import (
    GPU_OPTIONS,
    TASK_OPTIONS,
    ResourceRequest,
    count_gpus,
    count_gres,
    job_resources,
)
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.runs import ProgramRun
from jaxsif.lint.script import Script

_JAX_CLUSTER = "jax/_src/clusters/slurm_cluster.py"
# Arguments with which a program chooses its devices.
_DEVICES_RE = re.compile(r"local[-_]?device[-_]?ids", re.IGNORECASE)
# Commands of the shell for which there is no program.
_BUILTINS = {"source", ".", "module", "ml", "export", "set", "unset", "eval", "ulimit"}
# With one of these a step leaves the rest of its nodes, or has nodes of its own.
_SHARES_NODES = (
    *("exact", "exclusive", "overlap", "cpus-per-task", "het-group", "nodelist"),
    *("relative", "partition"),
)
_RANK_VARIABLES = {slurm_env.RANK, slurm_env.LOCAL_RANK, slurm_env.NODE_INDEX}


@rule(
    "tasks-conflict",
    ERROR,
    fix="give --nodes and --ntasks-per-node, and leave --ntasks out",
    why="with fewer tasks the nodes get different numbers of them, with more Slurm"
    " refuses the job",
    source="tried with Slurm 26.05",
)
def tasks_conflict(script: Script) -> Iterator[Violation]:
    """--nodes, --ntasks-per-node and --ntasks contradict each other"""
    for requested in _requests(script):
        nodes, tasks = requested.number("nodes"), requested.number("ntasks")
        per_node = requested.number("ntasks-per-node")
        if nodes and tasks and per_node and nodes * per_node != tasks:
            product = f"{nodes} nodes x {per_node} tasks a node = {nodes * per_node}"
            yield Violation(_line(requested, "ntasks"), f"{product}, not {tasks}")


@rule(
    "tasks-uneven",
    WARNING,
    fix="ask for a number of tasks divisible by the number of nodes, with"
    " --ntasks-per-node",
    why="JAX needs the same number of devices in every process and node; otherwise it"
    " ends with an AssertionError, or nodes wait",
    source="measured with JAX 0.10.2: uneven devices fail pmap",
)
def tasks_uneven(script: Script) -> Iterator[Violation]:
    """The tasks are not divisible by the nodes"""
    for requested in _requests(script):
        nodes, tasks = requested.number("nodes"), requested.number("ntasks")
        is_uneven = nodes and tasks and tasks % nodes
        if is_uneven and not requested.has("ntasks-per-node"):
            text = f"{tasks} tasks are not divisible by {nodes} nodes"
            yield Violation(_line(requested, "ntasks"), text)


@rule(
    "gpus-conflict",
    ERROR,
    fix="give --gpus-per-node alone",
    why="Slurm refuses counts that contradict each other, and distributes --gpus"
    " unevenly if it can",
    source="tried with Slurm 26.05: Invalid generic resource (gres) specification",
)
def gpus_conflict(script: Script) -> Iterator[Violation]:
    """The counts of GPUs contradict each other, or are not divisible by the nodes"""
    for component in script.directives.components:
        yield from _gpu_conflicts(component)


def _gpu_conflicts(requested: ParsedOptions) -> Iterator[Violation]:
    nodes = job_resources(requested).nodes
    total = count_gpus(requested.text("gpus"))
    per_node = count_gpus(requested.text("gpus-per-node"))
    per_task = count_gpus(requested.text("gpus-per-task"))
    gres = count_gres(requested.text("gres"))
    if total and per_node and nodes and total.count != nodes * per_node.count:
        product = f"{nodes} nodes x {per_node.count} GPUs = {nodes * per_node.count}"
        text = f"{product}, but --gpus is {total.count}"
        yield Violation(_line(requested, "gpus"), text)
    elif total and nodes and total.count % nodes:
        text = f"{total.count} GPUs are not divisible by {nodes} nodes"
        yield Violation(_line(requested, "gpus"), text)
    tasks = requested.number("ntasks")
    if total and per_task and tasks and total.count != tasks * per_task.count:
        product = f"{tasks} tasks x {per_task.count} GPUs = {tasks * per_task.count}"
        text = f"{product}, but --gpus is {total.count}"
        yield Violation(_line(requested, "gpus-per-task"), text)
    if per_node and gres and per_node.count != gres.count:
        text = f"--gres requests {gres.count} GPUs per node, --gpus-per-node"
        yield Violation(_line(requested, "gres"), f"{text} {per_node.count}")


@rule(
    "gpus-twice",
    WARNING,
    fix="give --gpus-per-node alone",
    why="from 26.05 on sbatch refuses both together, even with the same count",
    source="Slurm change log, 26.05; tried: --gpus-per-node and --gres=gpu are mutually"
    " exclusive",
)
def gpus_twice(script: Script) -> Iterator[Violation]:
    """GPUs are requested with --gres and --gpus-per-node"""
    steps = [run.srun for run in script.steps]
    for requested in (*script.directives.components, *steps):
        if requested.has("gpus-per-node") and count_gres(requested.text("gres")):
            yield Violation(
                _line(requested, "gres"), "--gpus-per-node is given as well"
            )


@rule(
    "gpus-tasks",
    ERROR,
    needs_jax=True,
    fix="one task per GPU: the same number for --ntasks-per-node and --gpus-per-node",
    why="under Slurm JAX gives the task of local rank i the GPU of ordinal i, so a task"
    " without a GPU fails, and uneven shares leave GPUs idle",
    source=f"jax #29669; {_JAX_CLUSTER}",
)
def gpus_tasks(script: Script) -> Iterator[Violation]:
    """The tasks of a node cannot share its GPUs evenly"""
    for run in _gpu_steps(script):
        gpus, tasks = run.resources.gpus_per_node, run.resources.tasks_per_node
        if gpus and tasks and gpus % tasks and not _selects_devices(script, run):
            text = f"{tasks} tasks on a node with {gpus} GPU{'' if gpus == 1 else 's'}"
            line = _line_of(run, *TASK_OPTIONS, *GPU_OPTIONS)
            yield Violation(line, text, severity="" if tasks > gpus else WARNING)


@rule(
    "gpus-idle",
    WARNING,
    fix="one task per GPU, or start the program through `singularity run` of this kit's"
    " image, or set JAX_LOCAL_DEVICE_IDS or local_device_ids=",
    why="under Slurm jax.distributed.initialize() takes one GPU per process, that of its"
    " local rank; the others stay idle without a message",
    source=f"jax #16788; {_JAX_CLUSTER}",
)
def gpus_idle(script: Script) -> Iterator[Violation]:
    """A task has several GPUs, and plain JAX takes one of them"""
    for run in _gpu_steps(script):
        gpus = _gpus_of_task(run.resources)
        is_group = run.resources.has_several_tasks or _is_rank_of_a_loop(run)
        if gpus is None or gpus < 2 or not is_group or _selects_devices(script, run):
            continue
        text = f"{gpus} GPUs per task, and plain JAX takes one of them"
        line, severity = _line_of(run, *TASK_OPTIONS, *GPU_OPTIONS), ""
        if any("maxtext" in word.text.lower() for word in run.program):
            text = f"{gpus} GPUs per task, and MaxText before 2026 takes one of them"
            severity = NOTE
        yield Violation(line, text, severity=severity)


def _gpus_of_task(resources: ResourceRequest) -> int | None:
    """Return how many GPUs each task can use; None if this is unknown or uneven."""
    if resources.binding:
        return resources.visible_gpus
    gpus, tasks = resources.gpus_per_node, resources.tasks_per_node
    return gpus // tasks if gpus and tasks and not gpus % tasks else None


def _is_rank_of_a_loop(run: ProgramRun) -> bool:
    """Whether a loop starts the ranks of a group, each as a step of its own."""
    is_in_loop = run.is_background and run.command.context.loop is not None
    return is_in_loop and "JAX_COORDINATOR_ADDRESS" in run.variables


@rule(
    "gpu-binding",
    ERROR,
    needs_jax=True,
    fix="request --gpus-per-node without binding; or start through `singularity run` of"
    " this kit's image, which sets JAX_LOCAL_DEVICE_IDS",
    why="each task then sees only its own GPU, as ordinal 0, but JAX uses the ordinal of"
    " its local rank: invalid device ordinal on every rank but the first",
    source="jax #23452, jax #28194",
)
def gpu_binding(script: Script) -> Iterator[Violation]:
    """Each task sees only its own GPUs, and plain JAX selects a different one"""
    for run in _gpu_steps(script):
        resources = run.resources
        tasks, visible = resources.tasks_per_node, resources.visible_gpus
        if (
            resources.binding
            and tasks != 1
            and resources.has_several_tasks
            # Otherwise each ordinal exists, though not all of them are used.
            and (not tasks or not visible or tasks > visible)
            and not _selects_devices(script, run)
        ):
            names = ("gpu-bind", "gpus-per-task", "tres-per-task")
            text = f"{resources.binding} hides the other tasks' GPUs from each task"
            severity = ""
            if visible is None:
                text = f"which GPUs a task sees with {resources.binding} depends on the node"
                severity = WARNING
            elif not tasks:
                severity = WARNING
            yield Violation(_line_of(run, *names), text, severity=severity)


def _requests(script: Script) -> Iterator[ParsedOptions]:
    """Yield the options of the job, then those of each step."""
    yield from script.directives.components
    yield from (run.srun for run in script.steps if not run.is_utility)


def _line(requested: ParsedOptions, name: str) -> int:
    option = requested.last(name)
    return option.line if option else 1


def _line_of(run: ProgramRun, *names: str) -> int:
    """Return the line of the option to change: of srun, or in a directive."""
    if run.resources != run.job and run.srun.has(*names):
        return run.line
    options = filter(None, (run.requested.last(name) for name in names))
    return next((option.line for option in options), run.line)


def _gpu_steps(script: Script) -> Iterator[ProgramRun]:
    """Yield the steps of JAX that are meant for GPUs."""
    for run in script.jax_runs:
        if run.is_srun_step and run.resources.has_gpus and not run.may_run_on_cpu:
            yield run


def _selects_devices(script: Script, run: ProgramRun) -> bool:
    if any(_DEVICES_RE.search(word.text) for word in run.program[1:]):
        return True
    return "JAX_LOCAL_DEVICE_IDS" in run.variables or script.uses_image_entry(run)


@rule(
    "srun-missing",
    ERROR,
    needs_jax=True,
    fix="put srun before it",
    why="the batch script runs once, on the first node; without srun there is a single"
    " process, which waits for the others or computes alone",
    source="jax #30073; measured: coordinator_address should be defined",
)
def srun_missing(script: Script) -> Iterator[Violation]:
    """A program of a job with several tasks is started without srun"""
    # Several programs at the same time may be the tasks.
    has_launcher = any(
        (run.launcher or run.is_background) and not run.is_utility
        for run in script.runs
    )
    if has_launcher or not script.resources.has_several_tasks:
        return
    for run in script.jax_runs:
        is_snippet = any(word.text == "-c" for word in run.program[1:2])
        if not is_snippet and not run.is_background:
            tasks = script.resources.tasks or "several"
            text = f"starts one process, but the job has {tasks} tasks"
            # On one node the tasks may stand for cores.
            if (script.resources.nodes or 1) > 1:
                yield Violation(run.line, text)
            else:
                fix = (
                    "for cores: --ntasks=1 --cpus-per-task=N; for ranks: srun before it"
                )
                yield Violation(run.line, text, fix=fix, severity=WARNING)


@rule(
    "srun-builtin",
    ERROR,
    fix="srun bash -c 'source env.sh && python train.py'",
    why="srun starts a program, and the shell's own commands are none; what follows `;`"
    " or `&&` is run once, by the batch shell",
    source="tried with Slurm 26.05: execve(): source: No such file or directory",
)
def srun_builtin(script: Script) -> Iterator[Violation]:
    """srun is to run a command of the shell"""
    for run in script.steps:
        first = run.srun.remaining[0].text if run.srun.remaining else ""
        name = first.partition("=")[0]
        if first in _BUILTINS:
            yield Violation(run.line, f"{first} is no program")
        elif name != first and name.isidentifier():
            fix = f"{first} srun ..., or srun env {first} ..."
            yield Violation(run.line, f"{first} is no program", fix=fix)


@rule(
    "srun-cpus",
    WARNING,
    fix='srun --cpus-per-task="$SLURM_CPUS_PER_TASK" ...',
    why="from Slurm 22.05 until 23.11 srun does not inherit the job's --cpus-per-task:"
    " each rank gets one core, and communication may be 50 times slower",
    source="Slurm release notes (reframe #2655, ulhpc-docs #55); 26.05 does, tried; jax"
    " docs, GPU performance tips",
)
def srun_cpus(script: Script) -> Iterator[Violation]:
    """srun does not get the job's --cpus-per-task"""
    for run in script.steps:
        per_task = run.requested.number("cpus-per-task")
        if (
            (per_task is not None and per_task > 1)
            and not run.is_utility
            and not run.srun.is_incomplete
            and not run.srun.has("cpus-per-task", "cpus-per-gpu")
            and "SRUN_CPUS_PER_TASK" not in run.variables
        ):
            text = f"the job requests {per_task} CPUs per task, this srun does not"
            yield Violation(run.line, text)


@rule(
    "srun-kill",
    WARNING,
    fix="srun --kill-on-bad-exit=1 ...",
    why="without it the remaining ranks wait for the failed one: 105 to 304 s by JAX's"
    " own limits, and forever if a rank hangs",
    source="measured with JAX 0.10.2; srun manual",
)
def srun_kill(script: Script) -> Iterator[Violation]:
    """srun does not end the other ranks when one fails"""
    for run in script.steps:
        option = run.srun.last("kill-on-bad-exit")
        value = option.value.text if option and option.value else "1"
        if (
            (option is None or value == "0")
            and run.resources.has_several_tasks
            and not run.is_utility
            and not run.srun.is_incomplete
            and slurm_env.KILL_BAD_EXIT not in run.variables
        ):
            tasks = run.resources.tasks or "several"
            text = f"if one of {tasks} ranks fails, the others continue"
            yield Violation(run.line, text)


@rule(
    "srun-export",
    ERROR,
    fix="srun --export=ALL ..., or leave --export out",
    why="srun inherits the job's --export: the ranks then have no PATH, no module and"
    " none of the script's variables",
    source="tried with Slurm 26.05: execve(): No such file or directory",
)
def srun_export(script: Script) -> Iterator[Violation]:
    """The ranks get no environment"""
    names = {assignment.name for assignment in script.assignments}
    for run in script.steps:
        if run.srun.is_incomplete:
            continue
        option = run.srun.last("export")
        if option is None and slurm_env.EXPORT_ENVIRONMENT not in names:
            option = run.requested.last("export")
        value = option.value.text if option and option.value else "ALL"
        # A list with PATH is intentional.
        if "$" not in value and not {"ALL", "PATH"} & set(value.upper().split(",")):
            text = f"--export={value} removes all other variables from the ranks"
            yield Violation(run.line, text)


@rule(
    "srun-exact",
    WARNING,
    fix="srun --exact ... &, with the memory and GPUs of the step: --mem=, --gpus=",
    why="from Slurm 20.11 on a step takes all CPUs of its nodes unless --exact is given,"
    " and shares none of them, so that the next one waits for its end",
    source="srun manual, --exact and --overlap; Slurm release notes, 20.11",
)
def srun_exact(script: Script) -> Iterator[Violation]:
    """Steps in the background run one after the other"""
    runs = [
        run
        for run in script.steps
        if run.is_background
        and not run.is_utility
        and not run.srun.is_incomplete
        and run.srun.has("ntasks", "nodes")
        and not run.srun.has(*_SHARES_NODES)
    ]
    in_loops = [run for run in runs if run.command.context.loop is not None]
    nodes = sum(run.resources.nodes or 1 for run in (*runs, *in_loops))
    available = script.resources.nodes
    if script.is_batch_script and available and nodes > available:
        yield Violation(runs[0].line, "this step may take all that the job has")


@rule(
    "srun-nodes",
    ERROR,
    fix="request no more nodes than the job has, or leave --nodes out",
    why="a step cannot have more nodes than its job",
    source="tried with Slurm 26.05: Only allocated 1 nodes asked for 2",
)
def srun_nodes(script: Script) -> Iterator[Violation]:
    """A step requests more nodes than the job has"""
    for run in script.steps:
        available, nodes = run.job.nodes, run.srun.number("nodes")
        if nodes and available and nodes > available:
            text = f"{nodes} nodes for a step of a job with {available}"
            # Otherwise they may be requested on sbatch's command line.
            severity = "" if run.requested.has("nodes") else WARNING
            yield Violation(run.line, text, severity=severity)


@rule(
    "rank-expanded-too-early",
    ERROR,
    fix="let the rank's own shell read it: srun bash -c '... $SLURM_PROCID', or the"
    " program itself",
    why="the batch shell expands the variable before srun starts, when it is 0: every"
    " rank believes that it is rank 0",
    source="tried with Slurm 26.05",
)
def rank_expanded_too_early(script: Script) -> Iterator[Violation]:
    """A rank's number is expanded before the ranks start"""
    # One task has the number 0, as the batch script.
    steps = [run for run in script.steps if run.resources.tasks != 1]
    for run in steps:
        for word in run.command.args:
            early = sorted(script.variable_sources(word) & _RANK_VARIABLES)
            if early and not run.is_utility:
                text = f"every rank gets the batch script's ${early[0]}"
                yield Violation(word.line, text)
    for assignment in script.assignments if steps else ():
        if assignment.is_exported and assignment.value:
            early = sorted(script.variable_sources(assignment.value) & _RANK_VARIABLES)
            if early:
                text = f"{assignment.name} is the batch script's ${early[0]}"
                yield Violation(assignment.line, f"{text} for every rank")


@rule(
    "mpirun",
    NOTE,
    fix="start it with srun",
    why="JAX finds its processes through srun's variables; it does not detect Open MPI 5"
    " before 0.12, and then needs mpi4py",
    source="jax #14576, jax #39849",
)
def mpirun(script: Script) -> Iterator[Violation]:
    """JAX is started by an MPI launcher"""
    for run in script.jax_runs:
        if run.launcher in MPI_LAUNCHERS:
            yield Violation(run.line, f"{run.launcher} starts the ranks")


@rule(
    "wait-missing",
    ERROR,
    needs_batch=True,
    fix='end the script with: wait "$pid", for each step',
    why="the job ends with its script, and Slurm kills the steps that still run",
    source="sbatch manual",
)
def wait_missing(script: Script) -> Iterator[Violation]:
    """Steps run in the background, and the script does not wait for them"""
    last = max((run.line for run in script.steps if run.is_background), default=None)
    if last is None:
        return
    # Each of these keeps the job alive.
    waits = any(c.name == "wait" and c.line >= last for c in script.commands)
    if not waits and all(
        run.is_background or run.line <= last for run in script.workloads
    ):
        yield Violation(last, "no wait follows this step")


@rule(
    "wait-early",
    WARNING,
    needs_batch=True,
    fix='wait "$pid" for each program, at the end',
    why="the job ends with its last command, and Slurm kills what still runs",
    source="sbatch manual",
)
def wait_early(script: Script) -> Iterator[Violation]:
    """The script waits for one of several programs that run at the same time"""
    runs = [run for run in script.workloads if run.runs_python and run.program]
    last = max((run.line for run in runs if run.is_background), default=0)
    waits = any(c.name == "wait" and c.line >= last for c in script.commands)
    behind = [run for run in runs if not run.is_background and run.line > last]
    programs = {_file_of(run) for run in behind}
    for run in runs:
        # A different program may be a server.
        if run.is_background and not waits and _file_of(run) in programs:
            text = (
                f"the job may end before it, with the program of line {behind[0].line}"
            )
            yield Violation(run.line, text)


def _file_of(run: ProgramRun) -> str:
    """Return the Python file, or module, that it runs."""
    words = [word.text for word in run.program[1:] if not word.text.startswith("-")]
    return words[0] if words else ""


TOPICS = {
    "Resources": (
        tasks_conflict,
        tasks_uneven,
        gpus_conflict,
        gpus_twice,
        gpus_tasks,
        gpus_idle,
        gpu_binding,
    ),
    "srun": (
        srun_missing,
        srun_builtin,
        srun_cpus,
        srun_kill,
        srun_export,
        srun_exact,
        srun_nodes,
        rank_expanded_too_early,
        mpirun,
        wait_missing,
        wait_early,
    ),
}
