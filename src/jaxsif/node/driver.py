"""Check that the node's NVIDIA driver exists and suits the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.core.problem import Problem
from jaxsif.node.host_info import HostInfo
from jaxsif.node.visibility import were_gpus_requested

# "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version
# Compatibility" (docs.nvidia.com/cuda/cuda-toolkit-release-notes).
OLDEST_DRIVER = {"cuda12": (525, 60, 13), "cuda13": (580, 65, 6)}

_VERSION = re.compile(
    r"Kernel Module\D{0,60}?(?:x86_64|aarch64)?\s{1,9}(\d{1,9}(?:\.\d{1,9})+)"
)
# Where the dynamic loader, or the container runtime, has the driver's libraries.
_LIBRARY_FOLDERS = (
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
    if not has_library(host_info):
        yield Problem(
            "gpu-driver",
            "the container has no NVIDIA driver library (no libcuda.so.1)",
            "start it with --nv: singularity run --nv $JAX_IMAGE ...",
        )
    yield from old_driver(host_info)


def old_driver(host_info: HostInfo) -> Iterator[Problem]:
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
        f"the node's driver is {version}; this image's CUDA {cuda(host_info)} needs"
        f" {oldest[0]}.{oldest[1]}.{oldest[2]:02d} or newer",
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


def cuda(host_info: HostInfo) -> str:
    """The version of the image's CUDA, at least its first number."""
    versions = host_info.image_facts.get("versions") or {}
    return str(versions.get("cuda") or (host_info.accelerator or "")[4:])


def has_library(host_info: HostInfo) -> bool:
    """Whether the driver's user-space library exists, which comes from the host."""
    folders = host_info.variable("LD_LIBRARY_PATH").split(":")
    folders += [f"/usr/lib/{n}" for n in host_info.names("/usr/lib") if "-linux" in n]
    return any(
        host_info.has(f"{folder}/libcuda.so.1")
        for folder in (*filter(None, folders), *_LIBRARY_FOLDERS)
    )
