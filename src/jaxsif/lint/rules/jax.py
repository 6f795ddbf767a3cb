"""Rules for JAX's processes, and for variables of JAX, XLA and NCCL."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from jaxsif.core import slurm_env
from jaxsif.lint.model import Assignment
from jaxsif.lint.resources import count_gpus
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.runs import ProgramRun
from jaxsif.lint.script import Script

_PORT, _ADDRESS = "JAX_COORDINATOR_PORT", "JAX_COORDINATOR_ADDRESS"
_PROXIES = ("http_proxy", "https_proxy", "grpc_proxy")
_NO_PROXIES = ("no_proxy", "no_grpc_proxy")
_NOT_USED_BY_JAX = (
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
    "JAX_CHECK_PROXY_ENVS",
    "JAX_DISTRIBUTED_INITIALIZATION_TIMEOUT_SECONDS",
)
_FIXED_PORT = re.compile(r":\d+$")
# An argument that suggests that the program has its own port.
_OWN_PORT = re.compile(r"coordinator|port|address", re.IGNORECASE)


@rule(
    "port-shared",
    ERROR,
    fix="start each step through `singularity run` of this kit's image, or give each its"
    " own JAX_COORDINATOR_PORT",
    why="JAX derives its coordinator's port from the job alone and binds it so that two"
    " steps join each other's group: wrong sums, and exit status 0",
    source="measured with JAX 0.10.2 and 0.12.0.1: wrong sums in 11 of 16 trials",
)
def port_shared(script: Script) -> Iterator[Violation]:
    """Steps that run at the same time share JAX's coordinator port"""
    for group in _concurrent(script):
        group = [run for run in group if not _has_own_port(script, run)]
        for run in group[:1]:
            others = [other for other in group[1:] if _port(other) == _port(run)]
            loops = run.command.context.loop
            if others:
                lines = ", ".join(str(other.line) for other in others)
                text = f"this step and that of line {lines} have one coordinator port"
                yield Violation(run.line, text)
            elif loops and run.is_background:
                text = (
                    f"the steps of the loop in line {loops} have one coordinator port"
                )
                yield Violation(run.line, text)


def _concurrent(script: Script) -> Iterator[list[ProgramRun]]:
    """The groups of JAX steps that run at the same time."""
    group: list[ProgramRun] = []
    by_command: dict[int, list[ProgramRun]] = defaultdict(list)
    for run in script.steps:
        if run.runs_jax:
            by_command[id(run.command)].append(run)
    for command in script.commands:
        if command.name == "wait" and not command.context.is_conditional:
            yield group
            group = []
        own = by_command[id(command)]
        is_alone = not command.context.is_background and not group
        # What a step runs one after the other is one program.
        group += [] if is_alone else own[:1]
    yield group


def _has_own_port(script: Script, run: ProgramRun) -> bool:
    """Whether it does not share its port with another step, or this is unknown."""
    if script.uses_image_entry(run) or run.resources.tasks == 1:
        return True
    if any(_OWN_PORT.search(word.text) for word in run.program[1:]):
        return True
    assignment = run.variables.get(_PORT) or run.variables.get(_ADDRESS)
    return bool(assignment and assignment.value and not assignment.value.is_literal)


def _port(run: ProgramRun) -> str:
    assignment = run.variables.get(_PORT) or run.variables.get(_ADDRESS)
    return assignment.value.text if assignment and assignment.value else ""


@rule(
    "port-fixed",
    WARNING,
    fix="leave it to the image, or derive it from the job and the step:"
    " JAX_COORDINATOR_PORT=$((20000 + SLURM_JOB_ID % 20000))",
    why="a second job on the same node joins the group through the same port and ends it,"
    " or mixes the ranks of both",
    source="measured with JAX 0.10.2: different incarnation; marin #7994",
)
def port_fixed(script: Script) -> Iterator[Violation]:
    """The coordinator's port is a fixed number"""
    for assignment in script.assignments_of(_PORT, _ADDRESS):
        value = assignment.value
        if value is None:
            continue
        if assignment.name == _PORT and value.number is not None:
            yield Violation(assignment.line, f"every job listens on port {value.text}")
        elif assignment.name == _ADDRESS and _FIXED_PORT.search(value.text):
            yield Violation(assignment.line, f"every job listens on {value.text}")


@rule(
    "proxy",
    ERROR,
    fix="unset http_proxy https_proxy grpc_proxy before srun; the entry of this kit's"
    " image keeps them off JAX alone",
    why="gRPC sends even the cluster's own traffic to the proxy, and initialize() waits"
    " 300 s for an answer",
    source="measured with JAX 0.10.2; jax #9582; NetKet docs, sharp bits",
)
def proxy(script: Script) -> Iterator[Violation]:
    """JAX would connect to its coordinator through a proxy"""
    for run in script.jax_runs:
        if not run.resources.has_several_tasks or script.uses_image_entry(run):
            continue
        if any(name in run.variables for name in _NO_PROXIES):
            continue
        for name in _PROXIES:
            assignment = run.variables.get(name)
            if assignment and assignment.is_unconditional and _is_filled(assignment):
                yield Violation(
                    assignment.line, f"{name} reaches the ranks of line {run.line}"
                )


def _is_filled(assignment: Assignment) -> bool:
    return bool(assignment.value and assignment.value.text)


@rule(
    "proxy-wildcard",
    WARNING,
    fix="name the nodes, or their domain as .cluster.example, or their network as"
    " 10.0.0.0/8; or unset the proxies",
    why="gRPC knows no wildcard in no_proxy, so JAX still connects to the coordinator through the"
    " proxy",
    source="measured with JAX 0.10.2; NetKet docs, sharp bits",
)
def proxy_wildcard(script: Script) -> Iterator[Violation]:
    """no_proxy contains a wildcard"""
    for assignment in script.assignments_of(*_NO_PROXIES):
        if assignment.value and "*" in assignment.value.text:
            yield Violation(
                assignment.line, f"{assignment.name}={assignment.value.text}"
            )


@rule(
    "variable-not-used-by-jax",
    NOTE,
    fix="leave it out, or hand it to jax.distributed.initialize() in the program",
    why="JAX itself does not read it: processes and ranks it takes from the launcher, and"
    " time limits only from the call",
    source="measured with JAX 0.10.2",
)
def variable_not_used_by_jax(script: Script) -> Iterator[Violation]:
    """JAX does not read the variable"""
    for assignment in script.assignments_of(*_NOT_USED_BY_JAX):
        yield Violation(assignment.line, f"JAX does not read {assignment.name}")


_VERBOSE_LEVELS = ("INFO", "TRACE")
_SWITCHES = (
    "NCCL_P2P_DISABLE",
    "NCCL_SHM_DISABLE",
    "NCCL_IB_DISABLE",
    "NCCL_NVLS_ENABLE",
    "NCCL_CUMEM_ENABLE",
    "NCCL_CHECKS_DISABLE",
)
_TUNING = (
    *_SWITCHES,
    "NCCL_ALGO",
    "NCCL_PROTO",
    "NCCL_NTHREADS",
    "NCCL_BUFFSIZE",
    "NCCL_MIN_NCHANNELS",
    "NCCL_MAX_NCHANNELS",
    "NCCL_P2P_LEVEL",
    "NCCL_LAUNCH_MODE",
)
_GPU_COUNTS = (
    slurm_env.GPUS_PER_NODE,
    slurm_env.GPUS_REQUESTED,
    slurm_env.GPUS_PER_TASK,
)
_PER_NODE_COUNTS = (
    slurm_env.PROCESSES_PER_NODE_OLD,
    slurm_env.STEP_PROCESSES_PER_NODE,
    slurm_env.JOB_CPUS_PER_NODE,
)
_AS_NUMBER = re.compile(
    r"int\(\s*(?:os\.)?(?:environ(?:\.get)?|getenv)\s*[\[(]\s*[\"'](?P<python>\w+)[\"']"
    r"|\$\(\([^)]{0,200}?\b(?P<shell>SLURM_\w+)"
)


@rule(
    "xla-device-count",
    WARNING,
    fix="export JAX_NUM_CPU_DEVICES=N, in CPU jobs only",
    why="it is for tests on one machine: it splits the CPU of each process into N devices,"
    " and a later assignment to XLA_FLAGS silently removes it",
    source="measured with JAX 0.10.2: JAX_NUM_CPU_DEVICES wins over it",
)
def xla_device_count(script: Script) -> Iterator[Violation]:
    """XLA_FLAGS creates CPU devices"""
    for assignment in script.assignments_of("XLA_FLAGS"):
        if (
            assignment.value
            and "xla_force_host_platform_device_count" in assignment.value.text
        ):
            yield Violation(
                assignment.line, "--xla_force_host_platform_device_count in XLA_FLAGS"
            )


@rule(
    "nccl-debug",
    WARNING,
    fix="export NCCL_DEBUG=${NCCL_DEBUG:-WARN}, and ask for more when you need it",
    why="every rank writes hundreds of lines, which bury the first error",
    source="NCCL documentation, environment variables",
)
def nccl_debug(script: Script) -> Iterator[Violation]:
    """NCCL's debug output is enabled for every run"""
    for assignment in script.assignments_of("NCCL_DEBUG"):
        if assignment.value and assignment.value.text.upper() in _VERBOSE_LEVELS:
            yield Violation(assignment.line, f"NCCL_DEBUG={assignment.value.text}")


@rule(
    "nccl-tuning",
    WARNING,
    fix="leave it out; what a site needs belongs into its module or profile, with the"
    " reason",
    why="such settings outlive the fault or the hardware that they were meant for, and"
    " cost up to the whole bandwidth; NCCL chooses by itself",
    source="NCCL documentation: not for production; docs.cscs.ch: 5 instead of 123 GB/s",
)
def nccl_tuning(script: Script) -> Iterator[Violation]:
    """NCCL is tuned by hand"""
    for assignment in script.assignments_of(*_TUNING):
        value = assignment.value
        if value is None or not value.is_literal:
            continue
        is_default = value.text == ("1" if assignment.name.endswith("_ENABLE") else "0")
        if not (assignment.name in _SWITCHES and is_default):
            yield Violation(assignment.line, f"{assignment.name}={value.text}")


@rule(
    "jax-platform",
    ERROR,
    fix="export JAX_PLATFORMS=cuda (AMD: rocm)",
    why="`gpu` stands for cuda, rocm and oneapi together, and JAX fails unless all of"
    " them start: Unable to initialize backend 'rocm'",
    source="measured with JAX 0.10.2; jax/_src/xla_bridge.py",
)
def jax_platform(script: Script) -> Iterator[Violation]:
    """JAX_PLATFORMS=gpu requests all types of GPU at once"""
    for assignment in script.assignments_of("JAX_PLATFORMS"):
        value = assignment.value
        if value and "gpu" in value.text.lower().split(","):
            yield Violation(assignment.line, f"JAX_PLATFORMS={value.text}")


@rule(
    "jax-platform-name",
    WARNING,
    fix="export JAX_PLATFORMS=cuda, or cpu",
    why="the old variable only chooses among what JAX has started; it starts all of them,"
    " and `cpu` takes memory of the GPUs all the same",
    source="jax/_src/xla_bridge.py",
)
def jax_platform_name(script: Script) -> Iterator[Violation]:
    """JAX_PLATFORM_NAME is not JAX_PLATFORMS"""
    for assignment in script.assignments_of("JAX_PLATFORM_NAME"):
        if assignment.value:
            yield Violation(
                assignment.line, f"JAX_PLATFORM_NAME={assignment.value.text}"
            )


@rule(
    "jax-platform-fallback",
    WARNING,
    fix="export JAX_PLATFORMS=cuda",
    why="where the GPUs are missing, JAX goes on with the CPU and says nothing",
    source="measured with JAX 0.10.2: exit status 0 on the CPU",
)
def jax_platform_fallback(script: Script) -> Iterator[Violation]:
    """A job for GPUs may run on the CPU"""
    for assignment in script.assignments_of("JAX_PLATFORMS"):
        platforms = assignment.value.text.lower().split(",") if assignment.value else []
        if script.resources.has_gpus and "cpu" in platforms[1:]:
            yield Violation(assignment.line, f"JAX_PLATFORMS={','.join(platforms)}")


@rule(
    "cuda-visible",
    WARNING,
    fix="leave it out: Slurm sets it to the GPUs of the job",
    why="the numbers may be of GPUs that are not the job's, and a rank that sees fewer"
    " GPUs than there are tasks has none of its own",
    source="jax/_src/clusters/slurm_cluster.py; Slurm documentation, GRES",
)
def cuda_visible(script: Script) -> Iterator[Violation]:
    """The script sets the GPUs that Slurm has set already"""
    for run in script.steps:
        assignment = run.variables.get("CUDA_VISIBLE_DEVICES")
        value = assignment.value if assignment and assignment.is_unconditional else None
        if assignment and value and value.is_literal and value.text not in ("", "-1"):
            yield Violation(assignment.line, f"CUDA_VISIBLE_DEVICES={value.text}")


@rule(
    "slurm-number",
    WARNING,
    fix="for GPUs use SLURM_GPUS_ON_NODE, for tasks SLURM_NTASKS_PER_NODE",
    why="Slurm repeats what was asked for, `a100:4`, or sums nodes up, `4(x2)`; where the"
    " request was made otherwise the variable is missing",
    source="Dist-DL-training, query_v2.py; sbatch manual, output environment variables",
)
def slurm_number(script: Script) -> Iterator[Violation]:
    """A variable of Slurm's is read as a number, and may be none"""
    for line, text in enumerate(script.lines, start=1):
        for found in _AS_NUMBER.finditer("" if text.startswith("#") else text):
            name = found["python"] or found["shell"]
            if name in _GPU_COUNTS:
                yield _gpu_count_violation(script, line, name)
            elif name in _PER_NODE_COUNTS:
                is_unconditional = (script.resources.nodes or 1) > 1
                severity = ERROR if is_unconditional else ""
                yield Violation(line, f"{name} may be 4(x2)", severity=severity)


def _gpu_count_violation(script: Script, line: int, name: str) -> Violation:
    requested = script.directives.options
    gpus = count_gpus(requested.text("gpus-per-node"))
    if gpus and gpus.is_typed:
        value = requested.text("gpus-per-node")
        return Violation(line, f"{name} is {value} here, no number", severity=ERROR)
    if script.resources.has_gpus and gpus is None and name == slurm_env.GPUS_PER_NODE:
        text = f"{name} is not set: the job asks in another way"
        return Violation(line, text, severity=ERROR)
    return Violation(line, f"{name} may be a100:4")


TOPICS = {
    "Processes": (
        port_shared,
        port_fixed,
        proxy,
        proxy_wildcard,
        variable_not_used_by_jax,
    ),
    "Variables": (
        xla_device_count,
        nccl_debug,
        nccl_tuning,
        jax_platform,
        jax_platform_name,
        jax_platform_fallback,
        cuda_visible,
        slurm_number,
    ),
}
