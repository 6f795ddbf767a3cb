"""Rules for JAX's processes, and for variables of JAX, XLA and NCCL."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from jaxsif.core import slurm_env
from jaxsif.lint.model import Setting
from jaxsif.lint.resources import count_gpus
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.runs import Launch
from jaxsif.lint.script import Script

_PORT, _ADDRESS = "JAX_COORDINATOR_PORT", "JAX_COORDINATOR_ADDRESS"
_PROXIES = ("http_proxy", "https_proxy", "grpc_proxy")
_NO_PROXIES = ("no_proxy", "no_grpc_proxy")
_UNREAD = (
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
        group = [launch for launch in group if not _has_own_port(script, launch)]
        for launch in group[:1]:
            others = [other for other in group[1:] if _port(other) == _port(launch)]
            loops = launch.command.place.loop
            if others:
                lines = ", ".join(str(other.line) for other in others)
                text = f"this step and that of line {lines} have one coordinator port"
                yield Violation(launch.line, text)
            elif loops and launch.command.place.is_background:
                text = (
                    f"the steps of the loop in line {loops} have one coordinator port"
                )
                yield Violation(launch.line, text)


def _concurrent(script: Script) -> Iterator[list[Launch]]:
    """The groups of JAX steps that run at the same time."""
    group: list[Launch] = []
    by_command: dict[int, list[Launch]] = defaultdict(list)
    for launch in script.steps:
        if launch.runs_jax:
            by_command[id(launch.command)].append(launch)
    for command in script.commands:
        if command.name == "wait" and not command.place.is_conditional:
            yield group
            group = []
        own = by_command[id(command)]
        is_alone = not command.place.is_background and not group
        # What a step runs one after the other is one program.
        group += [] if is_alone else own[:1]
    yield group


def _has_own_port(script: Script, launch: Launch) -> bool:
    """Whether it does not share its port with another step, or this is unknown."""
    if script.passes_entry(launch) or launch.shape.tasks == 1:
        return True
    if any(_OWN_PORT.search(word.text) for word in launch.program[1:]):
        return True
    setting = launch.variables.get(_PORT) or launch.variables.get(_ADDRESS)
    return bool(setting and setting.value and not setting.value.is_known)


def _port(launch: Launch) -> str:
    setting = launch.variables.get(_PORT) or launch.variables.get(_ADDRESS)
    return setting.value.text if setting and setting.value else ""


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
    for setting in script.assigned(_PORT, _ADDRESS):
        value = setting.value
        if value is None:
            continue
        if setting.name == _PORT and value.number is not None:
            yield Violation(setting.line, f"every job listens on port {value.text}")
        elif setting.name == _ADDRESS and _FIXED_PORT.search(value.text):
            yield Violation(setting.line, f"every job listens on {value.text}")


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
    for launch in script.jax_launches:
        if not launch.shape.has_several_tasks or script.passes_entry(launch):
            continue
        if any(name in launch.variables for name in _NO_PROXIES):
            continue
        for name in _PROXIES:
            setting = launch.variables.get(name)
            if setting and setting.is_certain and _is_filled(setting):
                yield Violation(
                    setting.line, f"{name} reaches the ranks of line {launch.line}"
                )


def _is_filled(setting: Setting) -> bool:
    return bool(setting.value and setting.value.text)


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
    for setting in script.assigned(*_NO_PROXIES):
        if setting.value and "*" in setting.value.text:
            yield Violation(setting.line, f"{setting.name}={setting.value.text}")


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
    for setting in script.assigned(*_UNREAD):
        yield Violation(setting.line, f"JAX does not read {setting.name}")


_LOUD = ("INFO", "TRACE")
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
_OF_GPUS = (slurm_env.GPUS_PER_NODE, slurm_env.GPUS_REQUESTED, slurm_env.GPUS_PER_TASK)
_OF_NODES = (
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
    for setting in script.assigned("XLA_FLAGS"):
        if (
            setting.value
            and "xla_force_host_platform_device_count" in setting.value.text
        ):
            yield Violation(
                setting.line, "--xla_force_host_platform_device_count in XLA_FLAGS"
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
    for setting in script.assigned("NCCL_DEBUG"):
        if setting.value and setting.value.text.upper() in _LOUD:
            yield Violation(setting.line, f"NCCL_DEBUG={setting.value.text}")


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
    for setting in script.assigned(*_TUNING):
        value = setting.value
        if value is None or not value.is_known:
            continue
        is_default = value.text == ("1" if setting.name.endswith("_ENABLE") else "0")
        if not (setting.name in _SWITCHES and is_default):
            yield Violation(setting.line, f"{setting.name}={value.text}")


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
    for setting in script.assigned("JAX_PLATFORMS"):
        value = setting.value
        if value and "gpu" in value.text.lower().split(","):
            yield Violation(setting.line, f"JAX_PLATFORMS={value.text}")


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
    for setting in script.assigned("JAX_PLATFORM_NAME"):
        if setting.value:
            yield Violation(setting.line, f"JAX_PLATFORM_NAME={setting.value.text}")


@rule(
    "jax-platform-fallback",
    WARNING,
    fix="export JAX_PLATFORMS=cuda",
    why="where the GPUs are missing, JAX goes on with the CPU and says nothing",
    source="measured with JAX 0.10.2: exit status 0 on the CPU",
)
def jax_platform_fallback(script: Script) -> Iterator[Violation]:
    """A job for GPUs may run on the CPU"""
    for setting in script.assigned("JAX_PLATFORMS"):
        platforms = setting.value.text.lower().split(",") if setting.value else []
        if script.shape.has_gpus and "cpu" in platforms[1:]:
            yield Violation(setting.line, f"JAX_PLATFORMS={','.join(platforms)}")


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
    for launch in script.steps:
        setting = launch.variables.get("CUDA_VISIBLE_DEVICES")
        value = setting.value if setting and setting.is_certain else None
        if setting and value and value.is_known and value.text not in ("", "-1"):
            yield Violation(setting.line, f"CUDA_VISIBLE_DEVICES={value.text}")


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
            if name in _OF_GPUS:
                yield _of_gpus(script, line, name)
            elif name in _OF_NODES:
                is_certain = (script.shape.nodes or 1) > 1
                severity = ERROR if is_certain else ""
                yield Violation(line, f"{name} may be 4(x2)", severity=severity)


def _of_gpus(script: Script, line: int, name: str) -> Violation:
    asked = script.directives.options
    gpus = count_gpus(asked.text("gpus-per-node"))
    if gpus and gpus.is_typed:
        value = asked.text("gpus-per-node")
        return Violation(line, f"{name} is {value} here, no number", severity=ERROR)
    if script.shape.has_gpus and gpus is None and name == slurm_env.GPUS_PER_NODE:
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
