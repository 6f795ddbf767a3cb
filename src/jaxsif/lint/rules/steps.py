"""srun: required and harmful options."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.core import slurm_env
from jaxsif.lint import programs
from jaxsif.lint.launches import Launch
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.script import Script

_OF_ONE_RANK = {slurm_env.RANK, slurm_env.LOCAL_RANK, slurm_env.NODE_INDEX}


@rule(
    "srun-missing",
    ERROR,
    fix="put srun before it",
    why="the batch script runs once, on the first node: without srun there is one process"
    " of the many, which waits for the rest or computes alone",
    source="jax #30073; measured: coordinator_address should be defined",
)
def missing(script: Script) -> Iterator[Violation]:
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
def cpus(script: Script) -> Iterator[Violation]:
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
def kill(script: Script) -> Iterator[Violation]:
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
def export(script: Script) -> Iterator[Violation]:
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
def nodes(script: Script) -> Iterator[Violation]:
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
def rank_early(script: Script) -> Iterator[Violation]:
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
        if launch.launcher in programs.MPI_LAUNCHERS:
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


RULES = (missing, cpus, kill, export, nodes, rank_early, mpirun, wait_missing)
