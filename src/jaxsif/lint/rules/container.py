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
_REMOTE_RE = re.compile(r"(?:docker|oras|library|shub|https?)://")
# An image of a registry, for Pyxis: `nvcr.io#nvidia/jax:24.04`.
_REGISTRY_RE = re.compile(r"^(?:docker://|[\w-]+\.(?:io|com|org|net|ai)[/#])")
_CLEARS_ENVIRONMENT = ("cleanenv", "containall", "compat")
_CHECKED_VARIABLE_RE = re.compile(r"\$\{(\w+):?[?:=-]|-[vzndefrs]\s+[\"']?\$?\{?(\w+)")
_PACKAGES_RE = re.compile(r"site-packages|dist-packages|/\.local\b|conda|/envs/")
_LIBRARIES_RE = re.compile(r"cuda|cudnn|nccl|nvidia", re.IGNORECASE)
# LUMI's partitions and images, too.
_AMD_RE = re.compile(
    r"rocm|miopen|\bmi[123]\d\d|\bamdgpu|\blumi\b|(?:standard|small|dev)-g\b",
    re.IGNORECASE,
)
_COMPATIBLE_RE = re.compile(r"/compat(?:/lib[^/]*)?/?$")
_TTY_RE = re.compile(r"^(?:-[di]{0,2}t[di]{0,2}|--tty)$")
_INSTALLERS_RE = re.compile(r"(?:pip[\d.]*|conda|mamba|micromamba|uv)")


@rule(
    "container-nv",
    ERROR,
    needs_batch=True,
    fix="singularity run --nv ... (AMD: --rocm; podman-hpc: --gpu)",
    why="without it the container has no driver, and JAX silently computes on the CPU",
    source="jax #17777; measured with JAX 0.10.2: exit status 0 on the CPU",
)
def container_nv(script: Script) -> Iterator[Violation]:
    """The job requests GPUs, and the container does not see them"""
    containers = [run.container for run in script.runs if run.container]
    if all(container.gives_gpus is not False for container in containers):
        return
    # AMD's images contain their libraries, and /dev is there anyway.
    if any(map(_AMD_RE.search, script.lines)):
        return
    is_seen = any(run.container and run.container.gives_gpus for run in script.runs)
    for run in script.runs:
        container = run.container
        if (
            container
            and container.gives_gpus is False
            and (run.resources.has_gpus or script.resources.has_gpus)
            and _may_compute_on_gpu(run)
            # Programs that prepare the job on one node need no GPU.
            and (run.is_srun_step or not is_seen)
            and not any(name in run.variables for name in _GPU_VARIABLES)
            # Of Shifter, whose options may be directives.
            and "gpu" not in (script.directives.options.text("module") or "")
        ):
            text = f"{container.runtime} {container.action} without GPUs"
            if any(word.text == "-nv" for word in run.command.args):
                text = "-nv is -n -v, not --nv"
            severity = "" if _surely_computes(run) else WARNING
            yield Violation(run.line, text, severity=severity)


def _may_compute_on_gpu(run: ProgramRun) -> bool:
    if run.may_run_on_cpu:
        return False
    is_option = bool(run.program) and run.program[0].text.startswith("-")
    return _surely_computes(run) or is_option


def _surely_computes(run: ProgramRun) -> bool:
    """Whether it is a program, and not the image's own, which may need no GPU."""
    if run.starts_instance or run.runs_python or not run.program:
        return True
    return run.program[0].base in SHELLS


@rule(
    "container-entry",
    NOTE,
    fix="singularity run instead of singularity exec",
    why="`run` starts the image's entry, which gives the step its own port, devices and"
    " certificates; `exec` does not",
    source="docs/entry.md",
)
def container_entry(script: Script) -> Iterator[Violation]:
    """`singularity exec` bypasses the image's entry"""
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
    needs_jax=True,
    fix="leave it out, and unset the variables that cause trouble by name",
    why="it removes Slurm's variables too, so JAX does not find its processes:"
    " coordinator_address should be defined",
    source="tried with Apptainer 1.4 and JAX 0.10.2",
)
def container_environment(script: Script) -> Iterator[Violation]:
    """The container starts with an empty environment"""
    for run in script.jax_runs:
        container = run.container
        if not container or not container.is_apptainer:
            continue
        option = container.options.last(*_CLEARS_ENVIRONMENT)
        if option and run.is_srun_step and run.resources.tasks != 1:
            yield Violation(run.line, f"{option.written} hides the step from JAX")


@rule(
    "container-tty",
    ERROR,
    needs_batch=True,
    fix="leave -t and --tty out",
    why="a batch job has no terminal: the input device is not a TTY",
    source="docker run manual; podman run manual",
)
def container_tty(script: Script) -> Iterator[Violation]:
    """The container asks for a terminal"""
    for run in script.runs:
        if run.container is None or run.container.runtime not in ("docker", "podman"):
            continue
        before = [w.text for w in run.command.args if w not in run.program]
        if any(_TTY_RE.match(text) for text in before) and not run.srun.has("pty"):
            yield Violation(run.line, f"{run.container.runtime} run with a terminal")


@rule(
    "image-unset",
    WARNING,
    fix=': "${JAX_IMAGE:?is not set}" before srun, with the variable\'s name; or set -u',
    why="if the variable is empty, the runtime takes the next argument as the image:"
    " could not open image .../python",
    source="tried with Apptainer 1.4",
)
def image_unset(script: Script) -> Iterator[Violation]:
    """The script does not check that the image's variable is set"""
    known = {assignment.name for assignment in script.assignments}
    for line in script.lines:
        known |= {n for names in _CHECKED_VARIABLE_RE.findall(line) for n in names}
    for run in script.runs:
        image = run.container.image if run.container else None
        options = run.command.shell_options
        if image is not None and image.is_literal and not image.text and image.names:
            names = ", ".join(f"${name}" for name in sorted(image.names))
            yield Violation(run.line, f"{names} is empty", fix="set it to an image")
        if image is None or image.is_literal or options.nounset:
            continue
        # A module that cannot be loaded ends the script.
        if script.modules and options.errexit:
            continue
        for name in sorted(script.variable_sources(image) - known):
            yield Violation(run.line, f"${name} may be unset")


@rule(
    "image-pull",
    WARNING,
    fix="pull it once, before you submit: apptainer pull image.sif docker://...",
    why="every rank pulls and converts it at its start, from nodes that often have no"
    " internet access; the first ranks wait for the last",
    source="pyxis #24, ngc-container-environment-modules",
)
def image_pull(script: Script) -> Iterator[Violation]:
    """The image is fetched from a registry inside the job"""
    for run in script.runs:
        image = run.container.image if run.container else None
        if image is None or not run.container:
            continue
        if run.container.is_apptainer and _REMOTE_RE.match(image.text):
            yield Violation(run.line, f"every rank fetches {image.text} at its start")
        elif run.container.runtime == "pyxis" and _REGISTRY_RE.match(image.text):
            text = f"every node fetches {image.text} at its start"
            fix = (
                f"enroot import -o image.sqsh docker://{image.text}, before you submit"
            )
            yield Violation(run.line, text, fix=fix)


@rule(
    "library-path",
    WARNING,
    fix="leave it out: JAX's wheels contain CUDA, cuDNN and NCCL",
    why="libraries on that path take precedence over JAX's own; an older cuDNN or NCCL"
    " then causes an error, or JAX runs on the CPU",
    source="jax docs, installation; tried with Apptainer 1.4",
)
def library_path(script: Script) -> Iterator[Violation]:
    """LD_LIBRARY_PATH makes JAX load libraries other than its own"""
    for run in script.jax_runs:
        assignment = run.variables.get("LD_LIBRARY_PATH")
        if not assignment or not assignment.value or not assignment.is_unconditional:
            continue
        # Such as APPTAINERENV_LD_LIBRARY_PATH.
        is_for_container = assignment.name != "LD_LIBRARY_PATH"
        host = (*script.assignments, *run.command.assignments)
        if run.container and not is_for_container and assignment in host:
            # Apptainer removes the host's.
            continue
        # NVIDIA's libraries for newer CUDA on an older driver replace none of JAX's.
        paths = [p for p in assignment.text.split(":") if not _COMPATIBLE_RE.search(p)]
        if any(
            _LIBRARIES_RE.search(path) or (is_for_container and "$" not in path)
            for path in paths
        ):
            yield Violation(assignment.line, f"LD_LIBRARY_PATH={assignment.text}")


@rule(
    "python-path",
    WARNING,
    fix="leave the host's packages out; add a package overlay to the image instead",
    why="Apptainer passes PYTHONPATH to the container, where its packages precede the"
    " image's, although they are for another Python or with another jax",
    source="tried with Apptainer 1.4; blackfish #366",
)
def python_path(script: Script) -> Iterator[Violation]:
    """PYTHONPATH adds packages of the host to the container"""
    for run in script.runs:
        assignment = run.variables.get("PYTHONPATH")
        if run.container is None or not assignment or not assignment.is_unconditional:
            continue
        if _PACKAGES_RE.search(assignment.text):
            yield Violation(assignment.line, f"PYTHONPATH={assignment.text}")


@rule(
    "pip-install",
    WARNING,
    fix="install before you submit, into an environment that the job only uses",
    why="compute nodes often have no internet access, several ranks write the same files"
    " at once, and a second jax may precede the image's",
    source="measured: pip install --target pulled a second jax over the image's",
)
def pip_install(script: Script) -> Iterator[Violation]:
    """The job installs packages"""
    programs = [(command.line, command.args) for command in script.commands]
    programs += [(run.line, run.program) for run in script.runs]
    for line, program in programs:
        if _installs(program):
            yield Violation(line, "packages are installed while the job runs")


def _installs(program: tuple[Word, ...]) -> bool:
    texts = [word.text for word in program]
    if "install" not in texts:
        return False
    before = program[: texts.index("install")]
    return any(_INSTALLERS_RE.fullmatch(word.base) for word in before)


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
            text = f"no command after this line needs {module.text}"
            yield Violation(module.line, text)


TOPICS = {
    "Container": (
        container_nv,
        container_entry,
        container_environment,
        container_tty,
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
