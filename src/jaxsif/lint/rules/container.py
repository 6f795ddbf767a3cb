"""Rules for containers, and for packages from outside the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.lint.model import Word
from jaxsif.lint.programs import SHELLS
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.runs import ProgramRun
from jaxsif.lint.script import Script

_GPU_VARIABLES = (
    "APPTAINER_NV",
    "SINGULARITY_NV",
    "APPTAINER_ROCM",
    "SINGULARITY_ROCM",
)
_REMOTE = re.compile(r"(?:docker|oras|library|shub|https?)://")
_CLEARS_ENVIRONMENT = ("cleanenv", "containall", "compat")


@rule(
    "container-nv",
    ERROR,
    fix="singularity run --nv ... (AMD: --rocm; podman-hpc: --gpu)",
    why="without it the container has no driver, and JAX computes on the CPU without a"
    " word",
    source="jax #17777; measured with JAX 0.10.2: exit status 0 on the CPU",
)
def container_nv(script: Script) -> Iterator[Violation]:
    """The job asks for GPUs, and the container does not see them"""
    is_seen = any(run.container and run.container.gives_gpus for run in script.runs)
    for run in script.runs:
        container = run.container
        if (
            container is None
            or container.gives_gpus is not False
            or not (run.resources.has_gpus or script.resources.has_gpus)
            or not _may_compute(run)
            # What is prepared on one node needs none.
            or (is_seen and not run.is_srun_step)
            # AMD's images bring their libraries, and /dev is there anyway.
            or any("rocm" in line.lower() for line in script.lines)
            or any(name in run.variables for name in _GPU_VARIABLES)
        ):
            continue
        yield Violation(
            run.line, f"{container.runtime} {container.action} without GPUs"
        )


def _may_compute(run: ProgramRun) -> bool:
    if run.may_run_on_cpu:
        return False
    is_script = bool(run.program) and run.program[0].base in SHELLS
    return run.runs_python or is_script or not run.program


@rule(
    "container-entry",
    NOTE,
    fix="singularity run instead of singularity exec",
    why="`run` passes through the image's entry, which gives the step a port, devices and"
    " certificates of its own; `exec` does not",
    source="docs/entry.md",
)
def container_entry(script: Script) -> Iterator[Violation]:
    """`singularity exec` passes by the image's entry"""
    for run in script.jax_runs:
        container = run.container
        if (
            container
            and container.action == "exec"
            and container.is_apptainer
            and run.is_srun_step
            and run.resources.has_several_tasks
            and script.is_kit_image(run)
            and not script.uses_image_entry(run)
        ):
            yield Violation(run.line, f"{container.runtime} exec of this kit's image")


@rule(
    "container-environment",
    ERROR,
    fix="leave it out; what disturbs can be unset by name",
    why="it takes Slurm's variables too, and JAX finds no group: coordinator_address"
    " should be defined",
    source="tried with Apptainer 1.4 and JAX 0.10.2",
)
def container_environment(script: Script) -> Iterator[Violation]:
    """The container starts with an empty environment"""
    for run in script.jax_runs:
        container = run.container
        if container and run.is_srun_step and run.resources.tasks != 1:
            option = container.options.last(*_CLEARS_ENVIRONMENT)
            if option is not None and container.is_apptainer:
                yield Violation(run.line, f"{option.written} hides the step from JAX")


@rule(
    "image-unset",
    WARNING,
    fix=': "${JAX_IMAGE:?is not set}" before srun, with the variable\'s name; or set -u',
    why="if the variable is empty, the runtime takes the next word for the image: could"
    " not open image .../python",
    source="tried with Apptainer 1.4",
)
def image_unset(script: Script) -> Iterator[Violation]:
    """Nothing checks that the image's variable is set"""
    own = {assignment.name for assignment in script.assignments}
    guarded = {name for line in script.lines for name in _guarded(line)}
    for run in script.runs:
        image = run.container.image if run.container else None
        shell_options = run.command.shell_options
        if image is None or image.is_literal or shell_options.nounset:
            continue
        if script.modules and shell_options.errexit:
            # A module that cannot be loaded ends the script.
            continue
        for name in sorted(script.variable_sources(image) - own - guarded):
            yield Violation(run.line, f"nothing checks that ${name} is set")


_GUARD = re.compile(r"\$\{(\w+):?[?:=-]|-[vzndefrs]\s+[\"']?\$?\{?(\w+)")


def _guarded(line: str) -> list[str]:
    """The variables that a line looks at: `${NAME:?}`, `[ -n "$NAME" ]`."""
    return [name for names in _GUARD.findall(line) for name in names if name]


@rule(
    "image-pull",
    WARNING,
    fix="pull it once, before you submit: apptainer pull image.sif docker://...",
    why="every rank pulls and converts it at its start, from nodes that often have no way"
    " out; the first ranks wait for the last",
    source="pyxis #24, ngc-container-environment-modules",
)
def image_pull(script: Script) -> Iterator[Violation]:
    """The image is fetched from a registry inside the job"""
    for run in script.runs:
        container = run.container
        image = container.image if container and container.is_apptainer else None
        if image is not None and _REMOTE.match(image.text):
            yield Violation(
                run.line, f"{image.text} is fetched at the start of each rank"
            )


_PACKAGES = re.compile(r"site-packages|dist-packages|/\.local\b|conda|/envs/")
_LIBRARIES = re.compile(r"cuda|cudnn|nccl|nvidia", re.IGNORECASE)
_INSTALLERS = re.compile(r"(?:pip[\d.]*|conda|mamba|micromamba|uv)")


@rule(
    "library-path",
    WARNING,
    fix="leave it out: JAX's wheels bring CUDA, cuDNN and NCCL with them",
    why="libraries on that path come before JAX's own; an older cuDNN or NCCL then ends"
    " in an error, or on the CPU",
    source="jax docs, installation; tried with Apptainer 1.4",
)
def library_path(script: Script) -> Iterator[Violation]:
    """LD_LIBRARY_PATH makes JAX load libraries other than its own"""
    for run in script.jax_runs:
        assignment = run.variables.get("LD_LIBRARY_PATH")
        if (
            assignment is None
            or assignment.value is None
            or not assignment.is_unconditional
        ):
            continue
        plain = (*script.assignments, *run.command.assignments)
        if (
            run.container
            and assignment.name == "LD_LIBRARY_PATH"
            and assignment in plain
        ):
            # Apptainer takes it away, and keeps only what is meant for the container.
            continue
        is_meant_for_it = assignment.name != "LD_LIBRARY_PATH"
        if is_meant_for_it or _LIBRARIES.search(assignment.value.text):
            yield Violation(assignment.line, f"LD_LIBRARY_PATH={assignment.value.text}")


@rule(
    "python-path",
    WARNING,
    fix="leave packages of the host out; put an environment on top of the image's",
    why="Apptainer hands PYTHONPATH to the container, where its packages come before the"
    " image's, made for another Python or with another jax",
    source="tried with Apptainer 1.4; blackfish #366",
)
def python_path(script: Script) -> Iterator[Violation]:
    """PYTHONPATH adds packages of the host to the container"""
    for run in script.runs:
        assignment = run.variables.get("PYTHONPATH")
        if run.container is None or assignment is None or assignment.value is None:
            continue
        if assignment.is_unconditional and _PACKAGES.search(assignment.value.text):
            yield Violation(assignment.line, f"PYTHONPATH={assignment.value.text}")


@rule(
    "pip-install",
    WARNING,
    fix="install before you submit, into an environment that the job only uses",
    why="compute nodes often have no way out, several ranks write the same files at once,"
    " and a second jax may come before the image's",
    source="measured: pip install --target pulled a second jax over the image's",
)
def pip_install(script: Script) -> Iterator[Violation]:
    """The job installs packages"""
    for command in script.commands:
        if _installs(command.args):
            yield Violation(command.line, "packages are installed while the job runs")
    for run in script.runs:
        if _installs(run.program):
            yield Violation(run.line, "packages are installed while the job runs")


def _installs(args: tuple[Word, ...]) -> bool:
    texts = [word.text for word in args]
    if not args or "install" not in texts:
        return False
    before = args[: texts.index("install")]
    return any(_INSTALLERS.fullmatch(word.base) for word in before)


@rule(
    "module-after-use",
    WARNING,
    fix="load it before the first step",
    why="`module load` affects only later commands",
    source="Lmod documentation",
)
def module_after_use(script: Script) -> Iterator[Violation]:
    """A module is loaded after the commands that need it"""
    last = max((run.line for run in script.workloads), default=None)
    for module in script.modules:
        if last is not None and module.line > last:
            yield Violation(
                module.line, f"no command after this line needs {module.text}"
            )


TOPICS = {
    "Container": (
        container_nv,
        container_entry,
        container_environment,
        image_unset,
        image_pull,
    ),
    "Packages": (
        library_path,
        python_path,
        pip_install,
        module_after_use,
    ),
}
