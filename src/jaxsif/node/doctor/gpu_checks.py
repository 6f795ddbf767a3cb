"""The doctor's checks of the NVIDIA GPUs, their driver and their errors."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jaxsif.core.problem import Problem
from jaxsif.core.slurm_env import JOB_GPUS, JOB_ID, STEP_GPUS
from jaxsif.node import gpu_visibility, nvml
from jaxsif.node.doctor import probes
from jaxsif.node.doctor.isolate import CheckSkipped
from jaxsif.node.doctor.run import Check, CheckContext, CheckOutput
from jaxsif.node.gpu_health import health_problems, read_xids, summary, xid_problems
from jaxsif.node.gpu_visibility import visibility, visible_gpus
from jaxsif.node.host import HostInfo
from jaxsif.node.nvml import Reading

_NVIDIA = "0x10de"
# Display and 3D controllers of the PCI bus; data centre GPUs are the latter.
_DISPLAY, _ACCELERATOR = "0x0300", "0x0302"

_NO_GPU = "no NVIDIA GPU on this node"
_START_WITH_NV = "start it with --nv: singularity exec --nv $JAX_IMAGE jax-sif doctor"

_INIT_TROUBLES = {
    nvml.DRIVER_NOT_LOADED: (
        "the NVIDIA driver is not loaded",
        "drain the node and load the driver (modprobe nvidia); see the kernel log",
    ),
    nvml.VERSION_MISMATCH: (
        "the NVIDIA driver's library and its kernel module have different versions",
        "drain and reboot the node: the driver was updated while it was in use",
    ),
}


@dataclass(frozen=True)
class BusGpu:
    """A GPU on the PCI bus, and its kernel module."""

    bus_id: str
    kind: str
    module: str | None


def gpus_on_bus(host_info: HostInfo) -> list[BusGpu]:
    """The GPUs of this system, without those passed to a virtual machine."""
    found = []
    for name in host_info.names("/sys/bus/pci/devices"):
        folder = f"/sys/bus/pci/devices/{name}"
        if (host_info.read(f"{folder}/vendor") or "").strip() != _NVIDIA:
            continue
        kind = (host_info.read(f"{folder}/class") or "").strip()[:6]
        module = _module(host_info, f"{folder}/driver")
        if kind in (_DISPLAY, _ACCELERATOR) and module != "vfio-pci":
            found.append(BusGpu(name, kind, module))
    return found


def _module(host_info: HostInfo, link: str) -> str | None:
    try:
        return os.path.basename(os.readlink(host_info.path(link)))
    except OSError:
        return None


def need_gpu(host_info: HostInfo) -> None:
    """Raise CheckSkipped if there is no GPU."""
    if not host_info.has("/dev/nvidiactl") and not gpus_on_bus(host_info):
        raise CheckSkipped(_NO_GPU)


def driver(context: CheckContext, limit_s: float) -> CheckOutput:
    host_info = context.host_info
    need_gpu(host_info)
    version = gpu_visibility.driver_version(host_info)
    problems = list(_no_driver(host_info))
    if problems:
        return CheckOutput("no driver", problems)
    summary = f"version {version}" if version else "there, version unknown"
    if gpu_visibility.OLDEST_DRIVER.get(host_info.accelerator or ""):
        summary += f", for CUDA {gpu_visibility.cuda(host_info)}"
    return CheckOutput(summary, list(gpu_visibility.old_driver(host_info)))


def _no_driver(host_info: HostInfo) -> Iterator[Problem]:
    bus = gpus_on_bus(host_info)
    if host_info.has("/dev/nvidiactl") or any(g.module == "nvidia" for g in bus):
        return
    bus_ids = ", ".join(gpu.bus_id for gpu in bus)
    yield Problem(
        "gpu-driver",
        f"NVIDIA GPUs are on the PCI bus ({bus_ids}), but no NVIDIA driver uses them",
        "load the driver (modprobe nvidia), or install it",
        # A workstation may have a GPU only for its screen.
        is_fatal=any(gpu.kind == _ACCELERATOR for gpu in bus),
    )


def gpus_of_job(context: CheckContext, limit_s: float) -> CheckOutput:
    host_info = context.host_info
    need_gpu(host_info)
    if JOB_ID not in host_info.environment:
        raise CheckSkipped("not in a job")
    problems = list(visibility(host_info))
    return CheckOutput(f"{visible_gpus(host_info)} GPUs", problems)


def _load_nvml() -> Any:
    # Only the GPU images have it.
    return importlib.import_module("pynvml")


def gpu_health(
    load: Callable[[], Any] = _load_nvml,
) -> Callable[[CheckContext, float], CheckOutput]:
    """A check of all that NVML reports."""

    def run(context: CheckContext, limit_s: float) -> CheckOutput:
        need_gpu(context.host_info)
        try:
            library = load()
        except ImportError as error:
            raise CheckSkipped(
                "this Python has no nvidia-ml-py; use an image with CUDA", True
            ) from error
        try:
            reading = nvml.read(library)
        except library.NVMLError as error:
            return _unreadable(error)
        return _judged(context.host_info, reading)

    return run


def _unreadable(error: Any) -> CheckOutput:
    if error.value == nvml.LIBRARY_NOT_FOUND:
        raise CheckSkipped(
            f"no libnvidia-ml.so.1 in the container; {_START_WITH_NV}", True
        )
    text, remedy = _INIT_TROUBLES.get(
        error.value,
        (f"the NVIDIA driver cannot be queried: {error}", "see the kernel log; reboot"),
    )
    return CheckOutput(str(error), [Problem("gpu-driver", text, remedy)])


def _judged(host_info: HostInfo, reading: Reading) -> CheckOutput:
    driven = [g for g in gpus_on_bus(host_info) if g.module == "nvidia"]
    is_in_job = JOB_ID in host_info.environment
    problems = health_problems(
        reading,
        # In a job the driver shows the job's GPUs only.
        expected=None if is_in_job or not driven else len(driven),
        ours=_numbers(host_info) if is_in_job else None,
    )
    return CheckOutput(summary(reading), list(problems), reading)


def _numbers(host_info: HostInfo) -> frozenset[int]:
    """The GPUs of this job on this node, written by Slurm as `0,1` or `0-3`."""
    text = host_info.variable(STEP_GPUS) or host_info.variable(JOB_GPUS)
    numbers: set[int] = set()
    for first, last in re.findall(r"(?<!\d)(\d{1,4})(?:-(\d{1,4}))?(?!\d)", text):
        numbers |= set(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def xids(context: CheckContext, limit_s: float) -> CheckOutput:
    need_gpu(context.host_info)
    found = read_xids(context.host_info)
    summary = f"{len(found)} in the kernel's log"
    return CheckOutput(summary, list(xid_problems(found)))


def computing(context: CheckContext, limit_s: float) -> CheckOutput:
    host_info = context.host_info
    need_gpu(host_info)
    if not host_info.expects_gpus:
        raise CheckSkipped("this image, or JAX_PLATFORMS, selects the CPU")
    if not gpu_visibility.has_library(host_info):
        raise CheckSkipped(f"no libcuda.so.1 in the container; {_START_WITH_NV}", True)
    gpus = _gpus_to_test(context)
    runs = probes.compute(host_info.environment, gpus, limit_s)
    slowest_s = max((ran.elapsed_s for ran in runs), default=0.0)
    return CheckOutput(
        f"{len(gpus)} GPUs, the slowest in {slowest_s:.1f} s",
        list(probes.compute_troubles(gpus, runs, limit_s)),
    )


def _gpus_to_test(context: CheckContext) -> list[str]:
    """The job's GPUs, or all, by their names in CUDA_VISIBLE_DEVICES."""
    listed = context.host_info.variable("CUDA_VISIBLE_DEVICES")
    if listed:
        return listed.split(",")[: visible_gpus(context.host_info)]
    if context.reading:
        return [gpu.uuid or str(gpu.index) for gpu in context.reading.gpus]
    return [str(number) for number in range(visible_gpus(context.host_info))]


_DRIVER_HANGS = Problem(
    "driver-hangs",
    "the NVIDIA driver does not respond: reading the GPUs' health timed out",
    "drain and reboot the node; check the kernel log for Xid",
)

QUICK = (
    Check("GPU driver", driver),
    Check("GPUs of the job", gpus_of_job, is_of_node=False),
    Check("GPU errors (Xid)", xids),
    # Without nvidia-persistenced the driver starts first, seconds for every GPU.
    Check("GPU health", gpu_health(), limit_s=15.0, on_timeout=_DRIVER_HANGS),
)
SLOW = (Check("computing on GPUs", computing, limit_s=120.0, spawns_children=True),)
