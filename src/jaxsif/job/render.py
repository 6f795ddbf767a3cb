"""Renders a job as a script for sbatch, with what each container runtime needs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from jaxsif.core.errors import REQUEUE
from jaxsif.core.image import ENTRY, PACKAGES_DIR, PACKAGES_VARIABLE
from jaxsif.core.text import plural
from jaxsif.core.topology import Topology
from jaxsif.job.request import Job, Variable, memory_bytes

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
# The program saved its state and requests a requeue (jaxsif.request_requeue). Of a job
# array this task only.
job=${{SLURM_ARRAY_TASK_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
if [[ ${{status:-0}} == {REQUEUE} ]]; then scontrol requeue "${{job:-$SLURM_JOB_ID}}"; fi
exit "${{status:-0}}\""""

_NEEDS_IMAGE = (
    ': "${JAX_IMAGE:?is not set; load the module before you submit:'
    ' module load jax-sif}"'
)
# podman passes only these variables of the host.
_PODMAN_VARIABLES = ("SLURM*", "CUDA*", "JAX*", "XLA*", "NCCL*", "FI_*", "PMI*")

# Variables are expanded in some words; a word of other characters needs no quotes.
_VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})"
_PLAIN = re.compile(r"[\w./,:=%@+~^-]+", re.ASCII)

# How the template ends, and how it ends for a program that is started again.
_RUN_ONCE = "# srun does not inherit"
_RUN_AGAIN = """# jax-sif recover runs srun and the verdict, and starts the program again after a
# failure that another start can mend; its exit status is that of the last attempt.
jax-sif recover $recover_options -- srun \\
  $srun_args \\
  $program
"""


def render(job: Job) -> str:
    """The text of the script."""
    runtime = RUNTIMES[job.site.runtime]
    template = _TEMPLATE.read_text()
    if job.options.is_recovered:
        template = template[: template.index(_RUN_ONCE)] + _RUN_AGAIN
    text = Template(template).substitute(
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
        recover_options=_recover_options(job),
    )
    return text


def _recover_options(job: Job) -> str:
    """The options of `jax-sif recover`."""
    options = job.options
    args = [
        f"--max-restarts={options.restarts}",
        f"--spare-nodes={options.spare_nodes or 0}",
        *(["--requeue"] if job.profile.requeue else []),
    ]
    return " ".join(args) + _verify_options(job).replace("file ", "file=")


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
    yield directive("nodes", str(topology.nodes + (job.options.spare_nodes or 0)))
    if job.options.is_recovered:
        # A node that fails does not end the allocation.
        yield directive("no-kill")
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
    if job.options.spare_nodes:
        packages += f" --spare-nodes={job.options.spare_nodes}"
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


def _no_args(job: Job) -> list[str]:
    return []


@dataclass(frozen=True)
class Runtime:
    """The differences between runtimes; arguments are quoted for the shell.

    `prologue` are lines of the script that check or set what the runtime needs,
    `version_command` is shown in the job's first line, `srun_args` are options of srun,
    `container_args` come before the program.
    """

    container_args: Callable[[Job], list[str]]
    srun_args: Callable[[Job], list[str]] = _no_args
    prologue: tuple[str, ...] = (_NEEDS_IMAGE,)
    version_command: str = "image $JAX_IMAGE"


def _apptainer(job: Job) -> list[str]:
    args = ["singularity", "run"]
    if job.profile.platform == "gpu":
        args.append("--nv")
    if job.binds:
        args += ["--bind", '"$JAX_SIF_BIND"']
    if job.profile.packages:
        args += ["--bind", f'"${PACKAGES_VARIABLE}:{PACKAGES_DIR}:image-src=/,ro"']
    return [*args, '"$JAX_IMAGE"']


def _pyxis_srun(job: Job) -> list[str]:
    # Pyxis mounts nothing by default; the program is in the working directory.
    mounts = '"$PWD:$PWD,$JAX_SIF_BIND"' if job.binds else '"$PWD:$PWD"'
    return [
        '--container-image="$JAX_IMAGE"',
        f"--container-mounts={mounts}",
        '--container-workdir="$PWD"',
    ]


def _podman_hpc(job: Job) -> list[str]:
    args = ["podman-hpc", "run", "--rm", "--network=host", "--ipc=host"]
    if job.profile.platform == "gpu":
        args += ["--gpu", "--nccl"]
    passed = tuple(pattern.rstrip("*") for pattern in _PODMAN_VARIABLES)
    others = [name for name in job.variables if not name.startswith(passed)]
    args += [f"--env='{name}'" for name in (*_PODMAN_VARIABLES, *others)]
    args += ['--volume="$PWD:$PWD"', '--workdir="$PWD"']
    for bind in job.binds:
        # podman needs the target even if it is the same as the source.
        both = bind if ":" in bind else f"{bind}:{bind}"
        args.append(f"--volume={quote_expandable(both)}")
    return [*args, '"$JAX_IMAGE"']


# By the names of schema.RuntimeName. Apptainer and podman-hpc run the image's entry
# point, Pyxis does not. `jax-sif run` is the entry point of a Python environment.
RUNTIMES = {
    "apptainer": Runtime(_apptainer),
    "pyxis": Runtime(
        lambda job: [ENTRY],
        _pyxis_srun,
        prologue=(_NEEDS_IMAGE, "export JAX_SIF_RUNTIME=pyxis"),
    ),
    "podman-hpc": Runtime(
        _podman_hpc, prologue=(_NEEDS_IMAGE, "export JAX_SIF_RUNTIME=podman-hpc")
    ),
    "bare": Runtime(
        lambda job: ["jax-sif", "run"],
        prologue=(),
        version_command="no image, $(command -v python)",
    ),
}


def quote(text: str) -> str:
    """A shell word without any expansion."""
    return shlex.quote(text)


def quote_expandable(text: str) -> str:
    """A shell word in which only variables such as `$USER` are expanded."""
    parts = re.split(f"({_VARIABLE})", text)
    if len(parts) == 1:
        return quote(text)
    # Every second part is a variable.
    kept = [
        part if place % 2 else re.sub(r'([\\"`$])', r"\\\1", part)
        for place, part in enumerate(parts)
    ]
    return f'"{"".join(kept)}"'


def directive(option: str, value: str | None = None) -> str:
    """`#SBATCH --option=value`, quoted for sbatch: double quotes and backslashes."""
    if value is None:
        return f"#SBATCH --{option}"
    if not _PLAIN.fullmatch(value):
        value = '"' + re.sub(r'([\\"])', r"\\\1", value) + '"'
    return f"#SBATCH --{option}={value}"


def comment(text: str) -> str:
    """Text that is safe in a one-line comment."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode()
        for c in text
    )
