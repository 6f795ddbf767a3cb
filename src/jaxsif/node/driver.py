"""Whether the node's NVIDIA driver is there and suits the image; runs in each rank and in the doctor."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.core.problem import Trouble
from jaxsif.node.host_info import Surroundings
from jaxsif.node.visibility import were_gpus_asked_for

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


def driver(surroundings: Surroundings) -> Iterator[Trouble]:
    """The NVIDIA driver: there, in the container too, and new enough for the image."""
    if not surroundings.wants_gpus:
        return
    if not surroundings.has("/dev/nvidiactl"):
        # Not so under WSL, which has another device.
        if were_gpus_asked_for(surroundings) and not surroundings.has("/dev/dxg"):
            yield Trouble(
                "gpu-driver",
                "GPUs were asked for, but this node has no NVIDIA driver (no"
                " /dev/nvidiactl)",
                "submit to a node with GPUs, or choose the CPU with JAX_PLATFORMS=cpu",
            )
        return
    if not has_library(surroundings):
        yield Trouble(
            "gpu-driver",
            "the container has no NVIDIA driver library (no libcuda.so.1)",
            "start it with --nv: singularity run --nv $JAX_IMAGE ...",
        )
    yield from old_driver(surroundings)


def old_driver(surroundings: Surroundings) -> Iterator[Trouble]:
    """A driver that is too old for the image's CUDA."""
    version = driver_version(surroundings)
    oldest = OLDEST_DRIVER.get(surroundings.accelerator or "")
    if version is None or oldest is None:
        return
    if tuple(map(int, version.split("."))) >= oldest:
        return
    # NVIDIA's libraries for newer CUDA on older drivers, on data centre GPUs only.
    has_compatibility = "/compat" in surroundings.variable("LD_LIBRARY_PATH")
    yield Trouble(
        "gpu-driver",
        f"the node's driver is {version}; this image's CUDA {cuda(surroundings)} needs"
        f" {oldest[0]}.{oldest[1]}.{oldest[2]:02d} or newer",
        "use the cuda12 image, or a node with a newer driver"
        if surroundings.accelerator == "cuda13"
        else "use a node with a newer driver, or update it",
        is_fatal=not has_compatibility,
    )


def driver_version(surroundings: Surroundings) -> str | None:
    """The version of the loaded kernel module, as `550.54.15`."""
    told = surroundings.read("/proc/driver/nvidia/version") or ""
    match = _VERSION.search(told)
    if match is None:
        told = surroundings.read("/sys/module/nvidia/version") or ""
        match = re.match(r"(\d+(?:\.\d+)+)", told)
    return match[1] if match else None


def cuda(surroundings: Surroundings) -> str:
    """The version of the image's CUDA, at least its first number."""
    versions = surroundings.image_facts.get("versions") or {}
    return str(versions.get("cuda") or (surroundings.accelerator or "")[4:])


def has_library(surroundings: Surroundings) -> bool:
    """Whether the driver's user side is there, which comes from the host."""
    folders = surroundings.variable("LD_LIBRARY_PATH").split(":")
    folders += [
        f"/usr/lib/{n}" for n in surroundings.names("/usr/lib") if "-linux" in n
    ]
    return any(
        surroundings.has(f"{folder}/libcuda.so.1")
        for folder in (*filter(None, folders), *_LIBRARY_FOLDERS)
    )
