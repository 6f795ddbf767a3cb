"""Variables that a script sets for JAX, XLA and NCCL, or reads from Slurm."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.core import slurm_env
from jaxsif.lint.rule import ERROR, WARNING, Violation, rule
from jaxsif.lint.script import Script
from jaxsif.lint.shape import count_gpus

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


RULES = (
    xla_device_count,
    nccl_debug,
    nccl_tuning,
    jax_platform,
    jax_platform_name,
    jax_platform_fallback,
    cuda_visible,
    slurm_number,
)
