"""The doctor's checks of the NVIDIA GPUs, their driver and their errors."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsif.core.errors import Problem
from jaxsif.core.slurm_env import JOB_GPUS, JOB_ID, STEP_GPUS
from jaxsif.node import gpu_visibility, nvml
from jaxsif.node.doctor.isolate import CheckSkipped, CommandResult, run_commands
from jaxsif.node.doctor.run import Check, CheckContext, CheckResult
from jaxsif.node.gpu_health import health_problems, read_xids, summary, xid_problems
from jaxsif.node.host import HostInfo

_NVIDIA = "0x10de"
# Display and 3D controllers of the PCI bus; data centre GPUs are the latter.
_DISPLAY, _ACCELERATOR = "0x0300", "0x0302"

# Small integers: exact in any precision that a GPU may use.
_COMPUTE = """
import jax
x = jax.numpy.arange(256.0).reshape(16, 16)
print(jax.default_backend(), float((x @ x.T).trace()))
"""
_COMPUTED = "gpu 5559680.0"

_NO_GPU = "no NVIDIA GPU on this node"
_START_WITH_NV = "start it with --nv: singularity exec --nv $JAX_IMAGE jax-sif doctor"

_INIT_PROBLEMS = {
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
    gpus = []
    for name in host_info.names("/sys/bus/pci/devices"):
        directory = f"/sys/bus/pci/devices/{name}"
        if (host_info.read(f"{directory}/vendor") or "").strip() != _NVIDIA:
            continue
        kind = (host_info.read(f"{directory}/class") or "").strip()[:6]
        module = _module(host_info, f"{directory}/driver")
        if kind in (_DISPLAY, _ACCELERATOR) and module != "vfio-pci":
            gpus.append(BusGpu(name, kind, module))
    return gpus


def _module(host_info: HostInfo, link: str) -> str | None:
    try:
        return os.path.basename(os.readlink(host_info.path(link)))
    except OSError:
        return None


def require_gpu(host_info: HostInfo) -> None:
    """Raise CheckSkipped if there is no GPU."""
    if not host_info.has("/dev/nvidiactl") and not gpus_on_bus(host_info):
        raise CheckSkipped(_NO_GPU)


def driver(context: CheckContext) -> CheckResult:
    host_info = context.host_info
    require_gpu(host_info)
    version = gpu_visibility.driver_version(host_info)
    problems = tuple(_no_driver(host_info))
    if problems:
        return CheckResult("no driver", problems)
    summary = f"version {version}" if version else "there, version unknown"
    if gpu_visibility.OLDEST_DRIVER.get(host_info.accelerator or ""):
        summary += f", for CUDA {gpu_visibility.cuda_version(host_info)}"
    return CheckResult(summary, tuple(gpu_visibility.driver_problems(host_info)))


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


def gpus_of_job(context: CheckContext) -> CheckResult:
    host_info = context.host_info
    require_gpu(host_info)
    if JOB_ID not in host_info.environment:
        raise CheckSkipped("not in a job")
    problems = tuple(gpu_visibility.visibility(host_info))
    return CheckResult(f"{gpu_visibility.visible_gpus(host_info)} GPUs", problems)


def _load_nvml() -> Any:
    # Only the GPU images have it.
    return importlib.import_module("pynvml")


def gpu_health(
    context: CheckContext, load: Callable[[], Any] = _load_nvml
) -> CheckResult:
    """Check everything that NVML reports."""
    require_gpu(context.host_info)
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
    return _from_reading(context.host_info, reading)


def _unreadable(error: Any) -> CheckResult:
    if error.value == nvml.LIBRARY_NOT_FOUND:
        raise CheckSkipped(
            f"no libnvidia-ml.so.1 in the container; {_START_WITH_NV}", True
        )
    text, remedy = _INIT_PROBLEMS.get(
        error.value,
        (f"the NVIDIA driver cannot be queried: {error}", "see the kernel log; reboot"),
    )
    return CheckResult(str(error), (Problem("gpu-driver", text, remedy),))


def _from_reading(host_info: HostInfo, reading: nvml.NvmlReading) -> CheckResult:
    on_bus = [gpu for gpu in gpus_on_bus(host_info) if gpu.module == "nvidia"]
    is_in_job = JOB_ID in host_info.environment
    problems = health_problems(
        reading,
        # In a job the driver shows the job's GPUs only.
        expected=None if is_in_job or not on_bus else len(on_bus),
        job_gpu_minors=_job_gpu_minors(host_info) if is_in_job else None,
    )
    return CheckResult(summary(reading), tuple(problems), reading)


def _job_gpu_minors(host_info: HostInfo) -> frozenset[int]:
    """The GPUs of this job on this node, written by Slurm as `0,1` or `0-3`."""
    text = host_info.variable(STEP_GPUS) or host_info.variable(JOB_GPUS)
    minors: set[int] = set()
    for first, last in re.findall(r"(?<!\d)(\d{1,4})(?:-(\d{1,4}))?(?!\d)", text):
        minors |= set(range(int(first), int(last or first) + 1))
    return frozenset(minors)


def xids(context: CheckContext) -> CheckResult:
    require_gpu(context.host_info)
    try:
        errors = read_xids(context.host_info)
    except OSError as error:
        raise CheckSkipped(
            f"the kernel log cannot be read: {error.strerror}"
        ) from error
    return CheckResult(f"{len(errors)} in the kernel log", tuple(xid_problems(errors)))


def gpu_compute(context: CheckContext) -> CheckResult:
    host_info = context.host_info
    require_gpu(host_info)
    if not host_info.expects_gpus:
        raise CheckSkipped("this image, or JAX_PLATFORMS, selects the CPU")
    if not gpu_visibility.has_driver_library(host_info):
        raise CheckSkipped(f"no libcuda.so.1 in the container; {_START_WITH_NV}", True)
    gpus = _gpus_to_test(context)
    results = compute(host_info.environment, gpus, context.timeout_s)
    slowest_s = max((result.elapsed_s for result in results), default=0.0)
    return CheckResult(
        f"{len(gpus)} GPUs, the slowest in {slowest_s:.1f} s",
        tuple(compute_problems(gpus, results, context.timeout_s)),
    )


def _gpus_to_test(context: CheckContext) -> list[str]:
    """The job's GPUs, or all, by their names in CUDA_VISIBLE_DEVICES."""
    visible = gpu_visibility.visible_gpus(context.host_info)
    listed = context.host_info.variable("CUDA_VISIBLE_DEVICES")
    if listed:
        return listed.split(",")[:visible]
    if context.gpu_reading:
        return [gpu.uuid or str(gpu.index) for gpu in context.gpu_reading.gpus]
    return [str(number) for number in range(visible)]


def compute(
    environment: Mapping[str, str], gpus: Sequence[str], timeout_s: float
) -> list[CommandResult]:
    """One small product on each GPU, concurrently, each in its own process."""
    own = {"JAX_PLATFORMS": "cuda", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    environments = [{**environment, **own, "CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]
    return run_commands([sys.executable, "-c", _COMPUTE], environments, timeout_s)


def compute_problems(
    gpus: Sequence[str], results: Sequence[CommandResult], timeout_s: float
) -> Iterator[Problem]:
    for gpu, result in zip(gpus, results, strict=True):
        if result.status != 0:
            text = result.failure(timeout_s)
        elif result.last_line != _COMPUTED:
            text = f"gave {result.last_line!r}, {_COMPUTED!r} expected"
        else:
            continue
        yield Problem(
            "gpu-compute",
            f"GPU {gpu}: a product of two small matrices {text}",
            "drain the node and reset the GPU; check the kernel log for Xid",
        )


_DRIVER_HANGS = Problem(
    "driver-hangs",
    "the NVIDIA driver does not respond: reading the GPUs' health timed out",
    "drain and reboot the node; check the kernel log for Xid",
)

QUICK = (
    Check("GPU driver", driver),
    Check("GPUs of the job", gpus_of_job, is_node_fault=False),
    Check("GPU errors (Xid)", xids),
    # Without nvidia-persistenced the driver starts first, seconds for every GPU.
    Check("GPU health", gpu_health, timeout_s=15.0, on_timeout=_DRIVER_HANGS),
)
SLOW = (Check("computing on GPUs", gpu_compute, timeout_s=120.0, spawns_children=True),)
