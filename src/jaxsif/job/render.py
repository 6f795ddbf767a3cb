"""Turns a job into the script that sbatch reads; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from string import Template

from jaxsif.core.errors import REQUEUE
from jaxsif.core.packages import PACKAGES_VARIABLE
from jaxsif.core.topology import Topology
from jaxsif.job import runtimes
from jaxsif.job.quoting import comment, directive, expanding, word
from jaxsif.job.request import Job, Variable, memory_bytes

_TEMPLATE = Path(__file__).with_name("job.slurm.template")

# Between words that stand on a line of their own.
_CONTINUED = " \\\n  "
_MAX_LINE = 80

# The verdict for `jax-sif report`, beside the job's output.
_DIAGNOSED = r' --json="${JAX_SIF_JSON:-${SLURM_JOB_NAME//\//-}-$SLURM_JOB_ID.json}"'
# What a script that may be started again does behind its last command.
_GOES_ON = f""" || status=$?
# The program has saved its state and asks to go on (jaxsif.request_requeue).
if [[ ${{status:-0}} == {REQUEUE} ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "${{status:-0}}\""""


def render(job: Job) -> str:
    """The text of the script."""
    runtime = runtimes.find(job.site.runtime)
    text = Template(_TEMPLATE.read_text()).substitute(
        title=comment(_title(job)),
        made_by=comment(job.made_by),
        directives="\n".join(_directives(job)),
        preparation="\n".join(["", *_modules(job), *_variables(job), *runtime.needs]),
        label=job.topology.label,
        shows=runtime.shows,
        checked=_checked(job),
        staging="\n".join(_staging(job)),
        srun_words=_wrapped([*_srun_words(job), *runtime.srun_words(job)]),
        program=" ".join([*runtime.words(job), *map(word, job.program)]),
        judged=_judged(job),
        ending=_GOES_ON if job.profile.requeue else "",
    )
    return text


def _judged(job: Job) -> str:
    """The judge's options."""
    written = f" --json {word(job.verdict)}" if job.verdict else ""
    if job.is_diagnostic:
        return written or _DIAGNOSED
    return f" --program{written}"


def _title(job: Job) -> str:
    """`train on 8 GPUs: 2 nodes, 4 processes a node, 1 GPU a process`"""
    topology = job.topology
    device = "GPU" if job.profile.platform == "gpu" else "CPU device"
    return (
        f"{job.name} on {_plural(topology.devices, device)}:"
        f" {_plural(topology.nodes, 'node')},"
        f" {_plural(topology.processes_per_node, 'process', 'es')} a node,"
        f" {_plural(topology.devices_per_process, device)} a process"
    )


def _plural(count: int, noun: str, ending: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else ending}"


def _directives(job: Job) -> Iterator[str]:
    profile, site, topology = job.profile, job.site, job.topology
    yield directive("job-name", job.name)
    yield directive("output", job.output)
    yield directive("time", profile.time_limit)
    if profile.signal:
        yield directive("signal", profile.signal)
    if profile.requeue:
        yield directive("requeue")
        # Otherwise a second run wipes out what the first has said.
        yield directive("open-mode", "append")
    is_gpu = profile.platform == "gpu"
    for name in ("partition", "account", "qos", "constraint", "reservation"):
        value = (is_gpu and getattr(site.gpus, name, None)) or getattr(site, name)
        if value:
            yield directive(name, value)
    for option in site.options:
        name, has_value, value = option.removeprefix("--").partition("=")
        yield directive(name, value if has_value else None)
    yield directive("nodes", str(topology.nodes))
    yield directive("ntasks-per-node", str(topology.processes_per_node))
    yield directive("cpus-per-task", str(profile.cpus_per_process))
    if profile.memory_per_process:
        yield directive("mem", _node_memory(profile.memory_per_process, topology))
    if is_gpu:
        kind = f"{site.gpus.type}:" if site.gpus.type else ""
        if site.gpus.request == "gres":
            yield directive("gres", f"gpu:{kind}{topology.devices_per_node}")
        else:
            yield directive("gpus-per-node", f"{kind}{topology.devices_per_node}")


def _node_memory(memory_per_process: str, topology: Topology) -> str:
    """Slurm counts memory by node, and in whole kilobytes at the finest."""
    needed = memory_bytes(memory_per_process) * topology.processes_per_node
    for unit, size in (("G", 1024**3), ("M", 1024**2)):
        if needed % size == 0:
            return f"{needed // size}{unit}"
    return f"{needed // 1024}K"


def _modules(job: Job) -> Iterator[str]:
    modules = job.site.modules
    if modules.use:
        yield f"module use {' '.join(map(expanding, modules.use))}"
    if modules.load:
        yield f"module load {' '.join(map(word, modules.load))}"


def _variables(job: Job) -> Iterator[str]:
    """What the user has set stays."""
    for name, variable in job.variables.items():
        yield f"# {comment(variable.why[:1].upper() + variable.why[1:])}."
        yield f"[[ -v {name} ]] || export {name}={_value(variable)}"
    if job.binds:
        binds = ",".join(job.binds)
        yield "# What the container sees besides the home and the working directory."
        yield f"export JAX_SIF_BIND={expanding(binds)}"


def _value(variable: Variable) -> str:
    return expanding(variable.value) if variable.is_expanded else word(variable.value)


def _checked(job: Job) -> str:
    """What the container has to see: packages, and the program's file if it is one."""
    packages = f' --env "${PACKAGES_VARIABLE}"' if job.profile.packages else ""
    is_python = job.program[0] == "python" and len(job.program) > 1
    if job.is_diagnostic or not is_python or not job.program[1].endswith(".py"):
        return packages
    return f"{packages} -- {word(job.program[1])}"


def _staging(job: Job) -> Iterator[str]:
    if not job.is_staged:
        return
    # What is copied, by the variable that names it, and the copy's ending.
    files = {"JAX_IMAGE": ".sif"}
    if job.profile.packages:
        files[PACKAGES_VARIABLE] = ".sqsh"
    copies = [f'"$staged{ending}"' for ending in files.values()]
    what = "the image and of the packages" if len(files) > 1 else "the image"
    yield f"# One copy of {what} on each node's own disk: its ranks read that."
    folder = expanding(job.site.local_disk)
    yield f"staged={folder}/jax-sif-$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}"
    # What cannot be removed is told, and leaves the job's status as it is.
    yield (
        'trap \'srun --ntasks-per-node=1 --ntasks="$SLURM_JOB_NUM_NODES"'
        f" rm -f {' '.join(copies)} ||\n"
        '  echo "$staged stays on a node" >&2\' EXIT'
    )
    for variable, copy in zip(files, copies, strict=True):
        yield f'sbcast "${variable}" {copy}'
    for variable, ending in files.items():
        yield f"export {variable}=$staged{ending}"


def _srun_words(job: Job) -> list[str]:
    words = [
        '--cpus-per-task="$SLURM_CPUS_PER_TASK"',
        "--kill-on-bad-exit=1",
        "--unbuffered",
        # Where somebody makes it a file, it is not emptied.
        "--output=/dev/stdout",
        "--open-mode=append",
    ]
    return [*words, "--mpi=pmix"] if job.needs_mpi else words


def _wrapped(words: list[str]) -> str:
    """Words on as many lines as they need."""
    lines, line = [], ""
    for text in words:
        if line and len(line) + len(text) > _MAX_LINE:
            lines.append(line)
            line = ""
        line = f"{line} {text}".lstrip()
    return _CONTINUED.join([*lines, line])
