"""Check the NVIDIA driver, and that this task sees the assigned GPUs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.core.errors import Problem, UsageError
from jaxsif.core.slurm_env import (
    GPUS_PER_TASK,
    JOB_GPUS,
    LOCAL_RANK,
    STEP_GPUS,
    STEP_NODE_LIST,
)
from jaxsif.core.text import plural
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology, parse_topology
from jaxsif.node.host import HostInfo

_NONE_VISIBLE = ("", "NoDevFiles", "-1")


def visibility(host_info: HostInfo) -> Iterator[Problem]:
    """Compare visible GPUs with those assigned by Slurm and requested by the topology.

    If CPU devices stand in for GPUs, the same variables are set and checked.
    """
    if not (host_info.expects_gpus or host_info.uses_cpu_stand_ins):
        return
    listed = host_info.environment.get("CUDA_VISIBLE_DEVICES")
    visible = visible_gpus(host_info)
    if visible == 0:
        # Without the variable the driver is missing.
        if listed is not None and were_gpus_requested(host_info):
            yield Problem(
                "gpu-visibility",
                f"CUDA_VISIBLE_DEVICES={listed!r} hides every GPU from this task",
                "request GPUs from Slurm (--gpus-per-node), or unset it",
            )
        return
    if listed is None and host_info.uses_cpu_stand_ins:
        return
    yield from _invalid_device_list(host_info, listed or "", visible)
    yield from _too_few(host_info, visible)
    yield from _wrong_ordinals(host_info, visible)


def visible_gpus(host_info: HostInfo) -> int:
    """The number of GPUs visible to CUDA in this process."""
    listed = host_info.environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return sum(
            bool(re.fullmatch(r"nvidia\d+", name)) for name in host_info.names("/dev")
        )
    # CUDA sees nothing behind an invalid entry (CUDA Programming Guide, "CUDA
    # Environment Variables").
    entries = listed.split(",")
    valid = [entry.strip() not in _NONE_VISIBLE for entry in entries]
    return valid.index(False) if False in valid else len(valid)


def were_gpus_requested(host_info: HostInfo) -> bool:
    """Whether Slurm, the user or the topology requests GPUs."""
    signs = (STEP_GPUS, JOB_GPUS, "CUDA_VISIBLE_DEVICES")
    if any(host_info.variable(sign) not in _NONE_VISIBLE for sign in signs):
        return True
    # With stand-ins the topology's devices are not GPUs.
    return not host_info.uses_cpu_stand_ins and _topology(host_info) is not None


def _invalid_device_list(
    host_info: HostInfo, listed: str, visible: int
) -> Iterator[Problem]:
    entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
    duplicates = sorted({entry for entry in entries if entries.count(entry) > 1})
    if duplicates:
        yield Problem(
            "gpu-visibility",
            f"CUDA_VISIBLE_DEVICES={listed!r} names GPU {', '.join(duplicates)} more"
            " than once",
            "name each GPU once, or leave the variable to Slurm",
        )
    # In a step, the job's GPUs are those of the node that runs the batch script.
    assigned = [gpu for gpu in host_info.variable(STEP_GPUS).split(",") if gpu]
    if entries and assigned and visible > len(assigned):
        yield Problem(
            "gpu-visibility",
            f"CUDA_VISIBLE_DEVICES={listed!r} names {plural(visible, 'GPU')}, Slurm"
            f" assigned {len(assigned)} on this node ({','.join(assigned)})",
            "leave CUDA_VISIBLE_DEVICES to Slurm; other jobs may use the rest",
            is_fatal=False,
        )


def _too_few(host_info: HostInfo, visible: int) -> Iterator[Problem]:
    if _has_requested_stand_ins(host_info):
        return
    requested = _gpus_per_task(host_info)
    topology = _topology(host_info)
    if requested is not None and visible < requested:
        reason = f"--gpus-per-task requests {requested}"
    elif topology and visible < topology.devices_per_process:
        reason = (
            f"{topology.label} requires {topology.devices_per_process} in each process"
        )
    else:
        return
    yield Problem(
        "gpu-visibility",
        f"{_visible(host_info, visible)}, {reason}",
        "use --gpus-per-node, without --gpus-per-task and --gpu-bind: every task then"
        " sees all GPUs of the node, and the image distributes them",
    )


def _wrong_ordinals(host_info: HostInfo, visible: int) -> Iterator[Problem]:
    """JAX counts within the visible devices; otherwise: `invalid device ordinal`."""
    listed = host_info.variable("JAX_LOCAL_DEVICE_IDS")
    if listed:
        ordinals = [o.strip() for o in listed.split(",")]
        source, remedy = (
            f"JAX_LOCAL_DEVICE_IDS={listed}",
            "count from 0 within CUDA_VISIBLE_DEVICES, or leave the variable to the"
            " image",
        )
    elif host_info.variable(STEP_NODE_LIST) and not host_info.uses_cpu_stand_ins:
        # JAX's own rule under Slurm (jax-ml/jax#23452).
        ordinals = [host_info.variable(LOCAL_RANK)]
        source, remedy = (
            f"JAX uses this task's local rank, {ordinals[0]}",
            "start the program with `singularity run`, which sets JAX_LOCAL_DEVICE_IDS",
        )
    else:
        return
    wrong = [o for o in ordinals if o.isdecimal() and int(o) >= visible]
    if wrong:
        yield Problem(
            "gpu-visibility",
            f"{_visible(host_info, visible)}, so there is no GPU number"
            f" {', '.join(wrong)}; {source}",
            remedy,
        )


def _visible(host_info: HostInfo, visible: int) -> str:
    devices = host_info.environment.get("CUDA_VISIBLE_DEVICES")
    reason = " is not set" if devices is None else f"={devices}"
    return f"this task sees {plural(visible, 'GPU')} (CUDA_VISIBLE_DEVICES{reason})"


def _has_requested_stand_ins(host_info: HostInfo) -> bool:
    """Whether the number of stand-in devices matches the request."""
    topology = _topology(host_info)
    devices = host_info.number("JAX_NUM_CPU_DEVICES")
    return bool(
        host_info.uses_cpu_stand_ins
        and topology
        and devices == topology.devices_per_process
    )


def _gpus_per_task(host_info: HostInfo) -> int | None:
    """Parse `2`, `gpu:2`, `a100:2` or `gpu:a100:2`."""
    match = re.fullmatch(r"(?:[^,]*:)?(\d+)", host_info.variable(GPUS_PER_TASK))
    return int(match[1]) if match else None


def _topology(host_info: HostInfo) -> Topology | None:
    try:
        return parse_topology(host_info.variable(TOPOLOGY_VARIABLE))
    except UsageError:
        return None


# "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version
# Compatibility" (docs.nvidia.com/cuda/cuda-toolkit-release-notes).
OLDEST_DRIVER = {"cuda12": (525, 60, 13), "cuda13": (580, 65, 6)}

_VERSION = re.compile(
    r"Kernel Module\D{0,60}?(?:x86_64|aarch64)?\s{1,9}(\d{1,9}(?:\.\d{1,9})+)"
)
# Where the dynamic loader, or the container runtime, has the driver's libraries.
_LIBRARY_DIRS = (
    "/.singularity.d/libs",
    "/usr/lib64",
    "/usr/local/nvidia/lib64",
    "/usr/local/cuda/compat",
)


def driver(host_info: HostInfo) -> Iterator[Problem]:
    """Check that the driver is in the node and the container, and recent enough."""
    if not host_info.expects_gpus:
        return
    if not host_info.has("/dev/nvidiactl"):
        # WSL has a different device.
        if were_gpus_requested(host_info) and not host_info.has("/dev/dxg"):
            yield Problem(
                "gpu-driver",
                "GPUs were requested, but this node has no NVIDIA driver (no"
                " /dev/nvidiactl)",
                "submit to a node with GPUs, or choose the CPU with JAX_PLATFORMS=cpu",
            )
        return
    if not has_driver_library(host_info):
        yield Problem(
            "gpu-driver",
            "the container has no NVIDIA driver library (no libcuda.so.1)",
            "start it with --nv: singularity run --nv $JAX_IMAGE ...",
        )
    yield from driver_problems(host_info)


def driver_problems(host_info: HostInfo) -> Iterator[Problem]:
    """Report a driver too old for the image's CUDA."""
    version = driver_version(host_info)
    oldest = OLDEST_DRIVER.get(host_info.accelerator or "")
    if version is None or oldest is None:
        return
    if tuple(map(int, version.split("."))) >= oldest:
        return
    # NVIDIA's libraries for newer CUDA on older drivers, on data centre GPUs only.
    has_compatibility = "/compat" in host_info.variable("LD_LIBRARY_PATH")
    yield Problem(
        "gpu-driver",
        f"the node's driver is {version}; this image's CUDA {cuda_version(host_info)}"
        f" needs {oldest[0]}.{oldest[1]}.{oldest[2]:02d} or newer",
        "use the cuda12 image, or a node with a newer driver"
        if host_info.accelerator == "cuda13"
        else "use a node with a newer driver, or update it",
        is_fatal=not has_compatibility,
    )


def driver_version(host_info: HostInfo) -> str | None:
    """The version of the loaded kernel module, e.g. `550.54.15`."""
    text = host_info.read("/proc/driver/nvidia/version") or ""
    match = _VERSION.search(text)
    if match is None:
        text = host_info.read("/sys/module/nvidia/version") or ""
        match = re.match(r"(\d+(?:\.\d+)+)", text)
    return match[1] if match else None


def cuda_version(host_info: HostInfo) -> str:
    """The version of the image's CUDA, at least its first number."""
    versions = host_info.image_facts.get("versions") or {}
    return str(versions.get("cuda") or (host_info.accelerator or "")[4:])


def has_driver_library(host_info: HostInfo) -> bool:
    """Whether the driver's user-space library exists, which comes from the host."""
    dirs = host_info.variable("LD_LIBRARY_PATH").split(":")
    dirs += [f"/usr/lib/{n}" for n in host_info.names("/usr/lib") if "-linux" in n]
    return any(
        host_info.has(f"{directory}/libcuda.so.1")
        for directory in (*filter(None, dirs), *_LIBRARY_DIRS)
    )
