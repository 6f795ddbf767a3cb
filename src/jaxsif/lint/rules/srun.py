"""Rules for nodes, tasks and GPUs, and for srun."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.core import slurm_env
from jaxsif.lint.options import Options
from jaxsif.lint.resources import GPU_OPTIONS, TASK_OPTIONS, count_gpus, count_gres
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.runs import MPI_LAUNCHERS, Launch
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


_OF_ONE_RANK = {slurm_env.RANK, slurm_env.LOCAL_RANK, slurm_env.NODE_INDEX}


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
    has_launcher = any(
        launch.launcher and not launch.is_small for launch in script.launches
    )
    if has_launcher or not script.shape.has_several_tasks:
        return
    for launch in script.jax_launches:
        is_snippet = any(word.text == "-c" for word in launch.program[1:2])
        if not is_snippet and not launch.command.place.is_background:
            text = f"one process is started, the job has {script.shape.tasks} tasks"
            yield Violation(launch.line, text)


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
    for launch in script.steps:
        if (
            (each is not None and each > 1)
            and not launch.is_small
            and not launch.srun.is_open
            and not launch.srun.has("cpus-per-task", "cpus-per-gpu")
            and "SRUN_CPUS_PER_TASK" not in launch.variables
        ):
            text = f"the job requests {each} CPUs per task, this srun does not"
            yield Violation(launch.line, text)


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
    for launch in script.steps:
        option = launch.srun.last("kill-on-bad-exit")
        is_on = option is not None and (
            option.value is None or option.value.text != "0"
        )
        if (
            not is_on
            and launch.shape.has_several_tasks
            and not launch.is_small
            and not launch.srun.is_open
            and slurm_env.KILL_BAD_EXIT not in launch.variables
        ):
            text = f"one of {launch.shape.tasks} ranks may fail, and the others go on"
            yield Violation(launch.line, text)


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
    names = {setting.name for setting in script.settings}
    for launch in script.steps:
        own = launch.srun.last("export")
        if launch.srun.is_open:
            continue
        asked = own or script.directives.options.last("export")
        value = asked.value.text if asked and asked.value else "ALL"
        is_mended = own is None and slurm_env.EXPORT_ENVIRONMENT in names
        items = value.upper().split(",")
        # A list with PATH is intentional.
        is_whole = "ALL" in items or "PATH" in items or "$" in value
        if asked and not is_whole and not is_mended:
            yield Violation(
                launch.line, f"--export={value} leaves the ranks without the rest"
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
    for launch in script.steps:
        wanted = launch.srun.number("nodes")
        if wanted and script.shape.nodes and wanted > script.shape.nodes:
            text = f"{wanted} nodes for a step of a job with {script.shape.nodes}"
            yield Violation(launch.line, text)


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
    for launch in script.steps:
        for word in launch.command.words:
            early = sorted(script.origins(word) & _OF_ONE_RANK)
            if early and not launch.is_small:
                yield Violation(
                    word.line, f"every rank gets the batch script's ${early[0]}"
                )
    for setting in script.settings:
        if setting.is_exported and setting.value and any(script.steps):
            early = sorted(script.origins(setting.value) & _OF_ONE_RANK)
            if early:
                text = (
                    f"{setting.name} is the batch script's ${early[0]} for every rank"
                )
                yield Violation(setting.line, text)


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
    for launch in script.jax_launches:
        if launch.launcher in MPI_LAUNCHERS:
            yield Violation(launch.line, f"{launch.launcher} starts the ranks")


@rule(
    "wait-missing",
    ERROR,
    fix='end the script with: wait "$pid", for each step',
    why="the job ends with its script, and Slurm kills the steps that still run",
    source="sbatch manual",
)
def wait_missing(script: Script) -> Iterator[Violation]:
    """Steps run in the background, and nothing waits for them"""
    steps = [launch for launch in script.steps if launch.command.place.is_background]
    if not steps:
        return
    last = steps[-1]
    if not any(_holds(script, last)):
        yield Violation(last.line, "the script ends without waiting for this step")


def _holds(script: Script, step: Launch) -> Iterator[bool]:
    """Whether a command after a step keeps the job alive."""
    for command in script.commands:
        if command.line >= step.line and command.name == "wait":
            yield True
    for launch in script.work:
        if launch.line > step.line and not launch.command.place.is_background:
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
