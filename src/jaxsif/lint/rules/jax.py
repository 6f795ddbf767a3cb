"""Rules for JAX's processes, and for variables of JAX, XLA and NCCL."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator

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
    "JAX_PROCESS_COUNT",
    "JAX_PROCESS_INDEX",
    "JAX_LOCAL_PROCESS_INDEX",
    "JAX_NODE_RANK",
    "JAX_USE_PJRT_CUDA_DEVICE",
    "JAX_USE_PJRT_CUDA",
    "JAX_CHECK_PROXY_ENVS",
    "JAX_DISTRIBUTED_INITIALIZATION_TIMEOUT_SECONDS",
)
_FIXED_PORT_RE = re.compile(r":\d+$")
# An argument that suggests that the program has its own port.
_OWN_PORT_RE = re.compile(r"coordinator|port|address", re.IGNORECASE)

_VERBOSE_LEVELS = ("INFO", "TRACE")
# Switches of NCCL, and the value that is their default.
_SWITCHES = {
    "NCCL_P2P_DISABLE": "0",
    "NCCL_SHM_DISABLE": "0",
    "NCCL_IB_DISABLE": "0",
    "NCCL_NVLS_ENABLE": "1",
    "NCCL_CUMEM_ENABLE": "1",
    "NCCL_CHECKS_DISABLE": "0",
}
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
_AS_NUMBER_RE = re.compile(
    r"int\(\s*(?:os\.)?(?:environ(?:\.get)?|getenv)\s*[\[(]\s*[\"'](?P<python>\w+)[\"']"
    r"|\$\(\([^)]{0,200}?\b(?P<shell>SLURM_\w+)"
)


@rule(
    "port-shared",
    ERROR,
    needs_jax=True,
    fix="start each step through `singularity run` of this kit's image, or give each its"
    " own JAX_COORDINATOR_PORT",
    why="JAX derives its coordinator's port from the job alone, and binds it in a way"
    " that two steps join each other's group: wrong sums, and exit status 0",
    source="measured with JAX 0.10.2 and 0.12.0.1: wrong sums in 11 of 16 trials",
)
def port_shared(script: Script) -> Iterator[Violation]:
    """Steps that run at the same time share JAX's coordinator port"""
    for group in _concurrent_steps(script):
        group = [run for run in group if not _has_own_port(script, run)]
        for run in group[:1]:
            loop = run.command.context.loop
            peers = [
                peer
                for peer in group[1:]
                if _port(peer) == _port(run) and not _are_apart(run, peer)
            ]
            severity = "" if _shares_nodes(run) else WARNING
            if peers:
                lines = ", ".join(str(peer.line) for peer in peers)
                text = f"this step and that of line {lines} use the same port"
                yield Violation(run.line, text, severity=severity)
            elif loop and run.is_background and not _are_apart(run, run):
                text = f"the steps of the loop in line {loop} use the same port"
                yield Violation(run.line, text, severity=severity)


def _are_apart(run: ProgramRun, peer: ProgramRun) -> bool:
    """Whether two steps, or a step and itself in the next iteration, have other nodes.

    The coordinator listens on the first node of each.
    """
    for name in ("het-group", "nodelist", "relative"):
        option, other = run.srun.last(name), peer.srun.last(name)
        if option is None or other is None or not option.value or not other.value:
            continue
        is_variable = run is peer and not option.value.is_literal
        if is_variable or option.value.text != other.value.text:
            return True
    return False


def _shares_nodes(run: ProgramRun) -> bool:
    """Whether any other step has nodes of this one: it has all of the job's."""
    return run.job.nodes is not None and run.resources.nodes == run.job.nodes


def _concurrent_steps(script: Script) -> Iterator[list[ProgramRun]]:
    """Yield the groups of JAX steps that run at the same time."""
    group: list[ProgramRun] = []
    by_command: dict[int, list[ProgramRun]] = defaultdict(list)
    for run in script.steps:
        if run.runs_jax:
            by_command[id(run.command)].append(run)
    for command in script.commands:
        if command.name == "wait" and not command.context.is_conditional:
            yield group
            group = []
        if command.context.is_background or group:
            # Programs that one step runs one after the other count once.
            group += by_command[id(command)][:1]
    yield group


def _has_own_port(script: Script, run: ProgramRun) -> bool:
    """Whether it does not share its port with another step, or this is unknown."""
    if script.uses_image_entry(run) or run.resources.tasks == 1:
        return True
    if any(_OWN_PORT_RE.search(word.text) for word in run.program[1:]):
        return True
    assignment = run.variables.get(_PORT) or run.variables.get(_ADDRESS)
    value = assignment.value if assignment else None
    return value is not None and not value.is_literal


def _port(run: ProgramRun) -> str:
    return run.value(_PORT if _PORT in run.variables else _ADDRESS)


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
        is_port = assignment.name == _PORT
        is_number = assignment.value is not None and assignment.value.number is not None
        is_address = assignment.name == _ADDRESS
        if (is_port and is_number) or (
            is_address and _FIXED_PORT_RE.search(assignment.text)
        ):
            text = f"every job listens on {'port ' * is_port}{assignment.text}"
            yield Violation(assignment.line, text)


@rule(
    "proxy",
    ERROR,
    needs_jax=True,
    fix="unset http_proxy https_proxy grpc_proxy before srun; the entry of this kit's"
    " image hides them from JAX only",
    why="gRPC sends even traffic within the cluster to the proxy, and initialize() waits"
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
            if assignment and assignment.is_unconditional and assignment.text:
                text = f"{name} reaches the ranks of line {run.line}"
                yield Violation(assignment.line, text)


@rule(
    "proxy-wildcard",
    WARNING,
    fix="name the nodes, or their domain as .cluster.example, or their network as"
    " 10.0.0.0/8; or unset the proxies",
    why="gRPC does not support wildcards in no_proxy, so JAX still connects to the"
    " coordinator through the proxy",
    source="measured with JAX 0.10.2; NetKet docs, sharp bits",
)
def proxy_wildcard(script: Script) -> Iterator[Violation]:
    """no_proxy contains a wildcard"""
    return _assigned(script, _NO_PROXIES, lambda assignment: "*" in assignment.text)


def _assigned(
    script: Script,
    names: tuple[str, ...],
    condition: Callable[[Assignment], bool] = lambda assignment: True,
) -> Iterator[Violation]:
    """Yield the assignments of variables that fulfil a condition."""
    for assignment in script.assignments_of(*names):
        if condition(assignment):
            text = f"{assignment.name}={assignment.text}"
            yield Violation(assignment.line, text)


@rule(
    "variable-not-used-by-jax",
    NOTE,
    fix="leave it out, or pass it to jax.distributed.initialize() in the program",
    why="JAX itself does not read it: it takes processes and ranks from the launcher, and"
    " time limits only from the call",
    source="measured with JAX 0.10.2",
)
def variable_not_used_by_jax(script: Script) -> Iterator[Violation]:
    """JAX does not read the variable"""
    return _assigned(script, _NOT_USED_BY_JAX)


@rule(
    "xla-device-count",
    WARNING,
    fix="export JAX_NUM_CPU_DEVICES=N, in CPU jobs only",
    why="it is for tests on one machine: it splits the CPU of each process into N devices,"
    " and a later assignment to XLA_FLAGS silently removes it",
    source="measured with JAX 0.10.2: JAX_NUM_CPU_DEVICES overrides it",
)
def xla_device_count(script: Script) -> Iterator[Violation]:
    """XLA_FLAGS creates CPU devices"""
    flag = "--xla_force_host_platform_device_count"
    for assignment in script.assignments_of("XLA_FLAGS"):
        if flag[2:] in assignment.text:
            yield Violation(assignment.line, f"{flag} in XLA_FLAGS")


@rule(
    "nccl-debug",
    WARNING,
    fix="export NCCL_DEBUG=${NCCL_DEBUG:-WARN}, and ask for more when you need it",
    why="every rank prints hundreds of lines, which hide the first error",
    source="NCCL documentation, environment variables",
)
def nccl_debug(script: Script) -> Iterator[Violation]:
    """NCCL's debug output is enabled for every run"""
    return _assigned(
        script, ("NCCL_DEBUG",), lambda level: level.text.upper() in _VERBOSE_LEVELS
    )


@rule(
    "nccl-tuning",
    WARNING,
    fix="leave it out; settings that a site needs belong in its module or profile, with"
    " the reason",
    why="such settings outlive the fault or the hardware for which they were made, and"
    " may cost the whole bandwidth; NCCL chooses by itself",
    source="NCCL documentation: not for production; docs.cscs.ch: 5 instead of 123 GB/s",
)
def nccl_tuning(script: Script) -> Iterator[Violation]:
    """NCCL is tuned by hand"""

    def is_tuned(assignment: Assignment) -> bool:
        is_default = _SWITCHES.get(assignment.name) == assignment.text
        return bool(assignment.value and assignment.value.is_literal and not is_default)

    return _assigned(script, _TUNING, is_tuned)


@rule(
    "jax-platform",
    ERROR,
    fix="export JAX_PLATFORMS=cuda (AMD: rocm)",
    why="`gpu` means cuda, rocm and oneapi together, and JAX fails unless all of them"
    " start: Unable to initialize backend 'rocm'",
    source="measured with JAX 0.10.2; jax/_src/xla_bridge.py",
)
def jax_platform(script: Script) -> Iterator[Violation]:
    """JAX_PLATFORMS=gpu requests all types of GPU at once"""
    return _assigned(
        script, ("JAX_PLATFORMS",), lambda value: "gpu" in _platforms(value)
    )


def _platforms(assignment: Assignment) -> list[str]:
    return assignment.text.lower().split(",")


@rule(
    "jax-platform-name",
    WARNING,
    fix="export JAX_PLATFORMS=cuda, or cpu",
    why="the old variable only selects among the platforms that JAX has started; it"
    " starts all of them, and even `cpu` uses GPU memory",
    source="jax/_src/xla_bridge.py",
)
def jax_platform_name(script: Script) -> Iterator[Violation]:
    """JAX_PLATFORM_NAME is not JAX_PLATFORMS"""
    return _assigned(script, ("JAX_PLATFORM_NAME",))


@rule(
    "jax-platform-fallback",
    WARNING,
    fix="export JAX_PLATFORMS=cuda",
    why="if the GPUs are missing, JAX silently continues on the CPU",
    source="measured with JAX 0.10.2: exit status 0 on the CPU",
)
def jax_platform_fallback(script: Script) -> Iterator[Violation]:
    """A job for GPUs may run on the CPU"""
    if script.resources.has_gpus:
        yield from _assigned(
            script, ("JAX_PLATFORMS",), lambda value: "cpu" in _platforms(value)[1:]
        )


@rule(
    "cuda-visible",
    WARNING,
    fix="leave it out: Slurm sets it to the GPUs of the job",
    why="the numbers may be those of other jobs' GPUs, and if a rank sees fewer GPUs than"
    " there are tasks, it has no GPU of its own",
    source="jax/_src/clusters/slurm_cluster.py; Slurm documentation, GRES",
)
def cuda_visible(script: Script) -> Iterator[Violation]:
    """The script sets the GPUs that Slurm has set already"""
    runs = list(script.workloads)
    # Several programs share them.
    is_shared = len({run.value("CUDA_VISIBLE_DEVICES") for run in runs}) > 1
    for run in runs:
        assignment = run.variables.get("CUDA_VISIBLE_DEVICES")
        value = assignment.value if assignment else None
        if assignment is None or value is None or value.text in ("", "-1"):
            continue
        if not assignment.is_unconditional or not value.is_literal:
            continue
        gpus, used = run.resources.gpus_per_node, len(value.text.split(","))
        if gpus and used < gpus and not is_shared and not run.is_background:
            text = f"CUDA_VISIBLE_DEVICES={value.text}: {used} of {gpus} GPUs"
            yield Violation(assignment.line, text)
        elif run.is_srun_step:
            yield Violation(assignment.line, f"CUDA_VISIBLE_DEVICES={value.text}")


@rule(
    "slurm-number",
    WARNING,
    fix="for GPUs use SLURM_GPUS_ON_NODE, for tasks SLURM_NTASKS_PER_NODE",
    why="Slurm repeats the request, `a100:4`, or counts nodes, `4(x2)`; if the request"
    " has another form, the variable is not set",
    source="Dist-DL-training, query_v2.py; sbatch manual, output environment variables",
)
def slurm_number(script: Script) -> Iterator[Violation]:
    """A variable of Slurm is read as a number, but may not be one"""
    for line, text in enumerate(script.lines, start=1):
        for match in _AS_NUMBER_RE.finditer("" if text.startswith("#") else text):
            name = match["python"] or match["shell"]
            if name in _GPU_COUNTS:
                yield _gpu_count_violation(script, line, name)
            elif name in _PER_NODE_COUNTS:
                is_certain = (script.resources.nodes or 1) > 1
                severity = ERROR if is_certain else ""
                yield Violation(line, f"{name} may be 4(x2)", severity=severity)


def _gpu_count_violation(script: Script, line: int, name: str) -> Violation:
    value = script.directives.options.text("gpus-per-node")
    gpus = count_gpus(value)
    if gpus and gpus.is_typed:
        return Violation(line, f"{name} is {value} here, not a number", severity=ERROR)
    if script.resources.has_gpus and not gpus and name == slurm_env.GPUS_PER_NODE:
        text = f"{name} is not set: the job requests GPUs with another option"
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
