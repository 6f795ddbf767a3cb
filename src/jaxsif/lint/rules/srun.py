"""Rules for nodes, tasks and GPUs, and for srun."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.core import slurm_env
from jaxsif.lint.options import ParsedOptions
from jaxsif.lint.programs import MPI_LAUNCHERS
from jaxsif.lint.resources import GPU_OPTIONS, TASK_OPTIONS, count_gpus, count_gres
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.runs import ProgramRun
from jaxsif.lint.script import Script

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
    for requested in _requests(script):
        nodes, tasks = requested.number("nodes"), requested.number("ntasks")
        each = requested.number("ntasks-per-node")
        if nodes and tasks and each and nodes * each != tasks:
            text = f"{nodes} nodes x {each} tasks a node = {nodes * each}, not {tasks}"
            yield Violation(_line(requested, "ntasks"), text)


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
    for requested in _requests(script):
        nodes, tasks = requested.number("nodes"), requested.number("ntasks")
        if nodes and tasks and tasks % nodes and not requested.has("ntasks-per-node"):
            text = f"{tasks} tasks do not divide over {nodes} nodes"
            yield Violation(_line(requested, "ntasks"), text)


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
    requested, nodes = script.directives.options, script.resources.nodes
    total = count_gpus(requested.text("gpus"))
    each = count_gpus(requested.text("gpus-per-node"))
    of_task = count_gpus(requested.text("gpus-per-task"))
    gres = count_gres(requested.text("gres"))
    if total and each and nodes and total.count != nodes * each.count:
        text = f"{nodes} nodes x {each.count} GPUs = {nodes * each.count}"
        yield Violation(
            _line(requested, "gpus"), f"{text}, not {total.count} as --gpus says"
        )
    elif total and nodes and total.count % nodes:
        text = f"{total.count} GPUs do not divide over {nodes} nodes"
        yield Violation(_line(requested, "gpus"), text)
    tasks = requested.number("ntasks")
    if total and of_task and tasks and total.count != tasks * of_task.count:
        text = f"{tasks} tasks x {of_task.count} GPUs = {tasks * of_task.count}"
        yield Violation(_line(requested, "gpus-per-task"), f"{text}, not {total.count}")
    if each and gres and each.count != gres.count:
        text = f"--gres asks for {gres.count} GPUs a node, --gpus-per-node for {each.count}"
        yield Violation(_line(requested, "gres"), text)


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
    for run in _on_gpus(script):
        gpus, tasks = run.resources.gpus_per_node, run.resources.tasks_per_node
        if gpus and tasks and gpus % tasks:
            text = (
                f"{tasks} tasks on a node with {gpus} {'GPU' if gpus == 1 else 'GPUs'}"
            )
            yield Violation(_line_of(script, run, *TASK_OPTIONS, *GPU_OPTIONS), text)


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
    for run in _on_gpus(script):
        resources = run.resources
        gpus, tasks = resources.gpus_per_node, resources.tasks_per_node
        if (
            resources.has_several_tasks
            and (gpus and tasks and gpus > tasks and not gpus % tasks)
            and not resources.binding
            and not _selects_devices(script, run)
        ):
            text = (
                f"{gpus // tasks} GPUs for each task, and plain JAX takes one of them"
            )
            yield Violation(_line_of(script, run, *TASK_OPTIONS, *GPU_OPTIONS), text)


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
    for run in _on_gpus(script):
        resources = run.resources
        has_other_ranks = (
            resources.tasks_per_node is None or resources.tasks_per_node > 1
        )
        if (
            resources.binding
            and has_other_ranks
            and resources.has_several_tasks
            and not _selects_devices(script, run)
        ):
            names = ("gpus-per-task", "gpu-bind", "tres-per-task")
            text = f"{resources.binding} hides the GPUs of the other tasks from each"
            yield Violation(_line_of(script, run, *names), text)


def _requests(script: Script) -> Iterator[ParsedOptions]:
    """What the job asks for, then each step."""
    if not script.directives.is_heterogeneous:
        yield script.directives.options
    for run in script.steps:
        if not run.is_utility:
            yield run.srun


def _line(requested: ParsedOptions, name: str) -> int:
    option = requested.last(name)
    return option.line if option else 1


def _line_of(script: Script, run: ProgramRun, *names: str) -> int:
    """Where the number stands that has to change: at srun, or in a directive."""
    is_own = run.resources != script.resources
    if is_own and run.srun.has(*names):
        return run.line
    lines = (script.directives.line_of(name) for name in names)
    return next(filter(None, lines), run.line)


def _on_gpus(script: Script) -> Iterator[ProgramRun]:
    """The steps of JAX that are meant for GPUs."""
    for run in script.jax_runs:
        if run.is_srun_step and run.resources.has_gpus and not run.may_run_on_cpu:
            yield run


def _selects_devices(script: Script, run: ProgramRun) -> bool:
    return "JAX_LOCAL_DEVICE_IDS" in run.variables or script.uses_image_entry(run)


_RANK_VARIABLES = {slurm_env.RANK, slurm_env.LOCAL_RANK, slurm_env.NODE_INDEX}


@rule(
    "srun-missing",
    ERROR,
    fix="put srun before it",
    why="the batch script runs once, on the first node: without srun there is one process"
    " of the many, which waits for the rest or computes alone",
    source="jax #30073; measured: coordinator_address should be defined",
)
def srun_missing(script: Script) -> Iterator[Violation]:
    """A program of a job with several tasks is started without srun"""
    has_launcher = any(run.launcher and not run.is_utility for run in script.runs)
    if has_launcher or not script.resources.has_several_tasks:
        return
    for run in script.jax_runs:
        is_snippet = any(word.text == "-c" for word in run.program[1:2])
        if not is_snippet and not run.is_background:
            text = f"one process is started, the job has {script.resources.tasks} tasks"
            yield Violation(run.line, text)


@rule(
    "srun-cpus",
    WARNING,
    fix='srun --cpus-per-task="$SLURM_CPUS_PER_TASK" ...',
    why="from Slurm 22.05 until 23.11 srun does not take over the job's --cpus-per-task:"
    " each rank gets one core, and communication may be 50 times slower",
    source="Slurm release notes (reframe #2655, ulhpc-docs #55); 26.05 does, tried; jax"
    " docs, GPU performance tips",
)
def srun_cpus(script: Script) -> Iterator[Violation]:
    """srun does not get the job's --cpus-per-task"""
    each = script.directives.options.number("cpus-per-task")
    for run in script.steps:
        if (
            (each is not None and each > 1)
            and not run.is_utility
            and not run.srun.is_incomplete
            and not run.srun.has("cpus-per-task", "cpus-per-gpu")
            and "SRUN_CPUS_PER_TASK" not in run.variables
        ):
            text = f"the job requests {each} CPUs per task, this srun does not"
            yield Violation(run.line, text)


@rule(
    "srun-kill",
    WARNING,
    fix="srun --kill-on-bad-exit=1 ...",
    why="without it the ranks that are left wait for the one that failed: 105 to 304 s by"
    " JAX's own limits, and forever if a rank hangs",
    source="measured with JAX 0.10.2; srun manual",
)
def srun_kill(script: Script) -> Iterator[Violation]:
    """srun does not end the other ranks when one fails"""
    for run in script.steps:
        option = run.srun.last("kill-on-bad-exit")
        is_on = option is not None and (
            option.value is None or option.value.text != "0"
        )
        if (
            not is_on
            and run.resources.has_several_tasks
            and not run.is_utility
            and not run.srun.is_incomplete
            and slurm_env.KILL_BAD_EXIT not in run.variables
        ):
            text = f"one of {run.resources.tasks} ranks may fail, and the others go on"
            yield Violation(run.line, text)


@rule(
    "srun-export",
    ERROR,
    fix="srun --export=ALL ..., or leave --export out",
    why="srun takes over the job's --export: the ranks then have no PATH, no module and"
    " none of the script's variables",
    source="tried with Slurm 26.05: execve(): No such file or directory",
)
def srun_export(script: Script) -> Iterator[Violation]:
    """The ranks get no environment"""
    names = {assignment.name for assignment in script.assignments}
    for run in script.steps:
        own = run.srun.last("export")
        if run.srun.is_incomplete:
            continue
        requested = own or script.directives.options.last("export")
        value = requested.value.text if requested and requested.value else "ALL"
        is_exported_by_variable = own is None and slurm_env.EXPORT_ENVIRONMENT in names
        items = value.upper().split(",")
        # A list with PATH is intentional.
        is_whole = "ALL" in items or "PATH" in items or "$" in value
        if requested and not is_whole and not is_exported_by_variable:
            yield Violation(
                run.line, f"--export={value} leaves the ranks without the rest"
            )


@rule(
    "srun-nodes",
    ERROR,
    fix="ask for no more than the job has, or leave --nodes out",
    why="a step cannot have more nodes than its job",
    source="tried with Slurm 26.05: Only allocated 1 nodes asked for 2",
)
def srun_nodes(script: Script) -> Iterator[Violation]:
    """A step requests more nodes than the job has"""
    for run in script.steps:
        requested = run.srun.number("nodes")
        if requested and script.resources.nodes and requested > script.resources.nodes:
            text = (
                f"{requested} nodes for a step of a job with {script.resources.nodes}"
            )
            yield Violation(run.line, text)


@rule(
    "rank-expanded-too-early",
    ERROR,
    fix="let the rank's own shell read it: srun bash -c '... $SLURM_PROCID', or the"
    " program itself",
    why="the batch shell puts the value in before srun starts, and there it is 0: every"
    " rank believes that it is the first",
    source="tried with Slurm 26.05",
)
def rank_expanded_too_early(script: Script) -> Iterator[Violation]:
    """A rank's number is expanded before the ranks start"""
    for run in script.steps:
        for word in run.command.args:
            early = sorted(script.variable_sources(word) & _RANK_VARIABLES)
            if early and not run.is_utility:
                yield Violation(
                    word.line, f"every rank gets the batch script's ${early[0]}"
                )
    for assignment in script.assignments:
        if assignment.is_exported and assignment.value and any(script.steps):
            early = sorted(script.variable_sources(assignment.value) & _RANK_VARIABLES)
            if early:
                text = f"{assignment.name} is the batch script's ${early[0]} for every rank"
                yield Violation(assignment.line, text)


@rule(
    "mpirun",
    NOTE,
    fix="start it with srun",
    why="JAX knows its group from the variables of srun; of Open MPI 5 it knows nothing"
    " until 0.12, and then it wants mpi4py",
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
    fix='end the script with: wait "$pid", for each step',
    why="the job ends with its script, and Slurm kills the steps that still run",
    source="sbatch manual",
)
def wait_missing(script: Script) -> Iterator[Violation]:
    """Steps run in the background, and nothing waits for them"""
    steps = [run for run in script.steps if run.is_background]
    if not steps:
        return
    last = steps[-1]
    if not any(_keeps_job_alive(script, last)):
        yield Violation(last.line, "the script ends without waiting for this step")


def _keeps_job_alive(script: Script, step: ProgramRun) -> Iterator[bool]:
    """Whether a command after a step keeps the job alive."""
    for command in script.commands:
        if command.line >= step.line and command.name == "wait":
            yield True
    for run in script.workloads:
        if run.line > step.line and not run.is_background:
            yield True


TOPICS = {
    "Resources": (
        tasks_conflict,
        tasks_uneven,
        gpus_conflict,
        gpus_tasks,
        gpus_idle,
        gpu_binding,
    ),
    "srun": (
        srun_missing,
        srun_cpus,
        srun_kill,
        srun_export,
        srun_nodes,
        rank_expanded_too_early,
        mpirun,
        wait_missing,
    ),
}
