"""Renders a job as a script for sbatch."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from string import Template

from jaxsif.core.errors import REQUEUE
from jaxsif.core.paths import PACKAGES_VARIABLE
from jaxsif.core.text import plural
from jaxsif.core.topology import Topology
from jaxsif.job.quoting import comment, directive, quote, quote_expandable
from jaxsif.job.request import Job, Variable, memory_bytes
from jaxsif.job.runtimes import RUNTIMES

_TEMPLATE = Path(__file__).with_name("job.slurm.template")

# Separates arguments that are on separate lines.
_CONTINUED = " \\\n  "
_MAX_LINE = 80

# The verdict file for `jax-sif report`, beside the job's output.
_VERDICT_FILE = (
    " --verdict-file="
    r'"${JAX_SIF_VERDICT_FILE:-${SLURM_JOB_NAME//\//-}-$SLURM_JOB_ID.json}"'
)
# The end of a script that can be requeued.
_REQUEUE_BLOCK = f""" || status=$?
# The program saved its state and requests a requeue (jaxsif.request_requeue).
if [[ ${{status:-0}} == {REQUEUE} ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "${{status:-0}}\""""


def render(job: Job) -> str:
    """The text of the script."""
    runtime = RUNTIMES[job.site.runtime]
    text = Template(_TEMPLATE.read_text()).substitute(
        title=comment(_title(job)),
        command_line=comment(job.options.command_line),
        directives="\n".join(_directives(job)),
        preparation="\n".join(
            ["", *_modules(job), *_variables(job), *runtime.prologue]
        ),
        label=job.topology.label,
        shows=runtime.version_command,
        check_options=_check_options(job),
        staging="\n".join(_staging(job)),
        srun_args=_wrap_args([*_srun_args(job), *runtime.srun_args(job)]),
        program=" ".join([*runtime.container_args(job), *map(quote, job.program)]),
        verify_options=_verify_options(job),
        ending=_REQUEUE_BLOCK if job.profile.requeue else "",
    )
    return text


def _verify_options(job: Job) -> str:
    """The options of `jax-sif verify`."""
    file = job.options.verdict_file
    option = f" --verdict-file {quote(file)}" if file else ""
    if job.is_diagnostic:
        return option or _VERDICT_FILE
    return f" --user-program{option}"


def _title(job: Job) -> str:
    """`train on 8 GPUs: 2 nodes, 4 processes a node, 1 GPU a process`"""
    topology = job.topology
    device = "GPU" if job.profile.platform == "gpu" else "CPU device"
    return (
        f"{job.name} on {plural(topology.devices, device)}:"
        f" {plural(topology.nodes, 'node')},"
        f" {plural(topology.processes_per_node, 'process', 'es')} a node,"
        f" {plural(topology.devices_per_process, device)} a process"
    )


def _directives(job: Job) -> Iterator[str]:
    profile, site, topology = job.profile, job.site, job.topology
    yield directive("job-name", job.name)
    yield directive("output", job.options.output)
    yield directive("time", profile.time_limit)
    if profile.signal:
        yield directive("signal", profile.signal)
    if profile.requeue:
        yield directive("requeue")
        # Otherwise a second run overwrites the output of the first.
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
    """Slurm's --mem is per node, in units of at least 1 KiB."""
    needed = memory_bytes(memory_per_process) * topology.processes_per_node
    for unit, size in (("G", 1024**3), ("M", 1024**2)):
        if needed % size == 0:
            return f"{needed // size}{unit}"
    return f"{needed // 1024}K"


def _modules(job: Job) -> Iterator[str]:
    modules = job.site.modules
    if modules.use:
        yield f"module use {' '.join(map(quote_expandable, modules.use))}"
    if modules.load:
        yield f"module load {' '.join(map(quote, modules.load))}"


def _variables(job: Job) -> Iterator[str]:
    """Variables that the user has set keep their values."""
    for name, variable in job.variables.items():
        yield f"# {comment(variable.reason[:1].upper() + variable.reason[1:])}."
        yield f"[[ -v {name} ]] || export {name}={_value(variable)}"
    if job.binds:
        binds = ",".join(job.binds)
        yield "# Folders to mount besides the home and the working directory."
        yield f"export JAX_SIF_BIND={quote_expandable(binds)}"


def _value(variable: Variable) -> str:
    return (
        quote_expandable(variable.value)
        if variable.is_expanded
        else quote(variable.value)
    )


def _check_options(job: Job) -> str:
    """The files that the container must see: the overlay and the program's file."""
    packages = f' --packages "${PACKAGES_VARIABLE}"' if job.profile.packages else ""
    is_python = job.program[0] == "python" and len(job.program) > 1
    if job.is_diagnostic or not is_python or not job.program[1].endswith(".py"):
        return packages
    return f"{packages} -- {quote(job.program[1])}"


def _staging(job: Job) -> Iterator[str]:
    if not job.options.is_staged:
        return
    # The variables that name the files to copy, and the suffixes of the copies.
    files = {"JAX_IMAGE": ".sif"}
    if job.profile.packages:
        files[PACKAGES_VARIABLE] = ".sqsh"
    copies = [f'"$staged{ending}"' for ending in files.values()]
    what = "the image and the packages" if len(files) > 1 else "the image"
    yield f"# Copy {what} to the local disk of each node."
    folder = quote_expandable(job.site.local_disk)
    yield f"staged={folder}/jax-sif-$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}"
    # A failed removal is reported, but does not change the job's exit status.
    yield (
        'trap \'srun --ntasks-per-node=1 --ntasks="$SLURM_JOB_NUM_NODES"'
        f" rm -f {' '.join(copies)} ||\n"
        '  echo "cannot remove $staged on a node" >&2\' EXIT'
    )
    for variable, copy in zip(files, copies, strict=True):
        yield f'sbcast "${variable}" {copy}'
    for variable, ending in files.items():
        yield f"export {variable}=$staged{ending}"


def _srun_args(job: Job) -> list[str]:
    args = [
        '--cpus-per-task="$SLURM_CPUS_PER_TASK"',
        "--kill-on-bad-exit=1",
        "--unbuffered",
        # If the output is redirected to a file, the file is not truncated.
        "--output=/dev/stdout",
        "--open-mode=append",
    ]
    return [*args, "--mpi=pmix"] if job.options.collectives == "mpi" else args


def _wrap_args(args: list[str]) -> str:
    """Break the arguments into lines."""
    lines, line = [], ""
    for text in args:
        if line and len(line) + len(text) > _MAX_LINE:
            lines.append(line)
            line = ""
        line = f"{line} {text}".lstrip()
    return _CONTINUED.join([*lines, line])
