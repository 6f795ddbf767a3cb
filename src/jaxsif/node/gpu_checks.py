"""The doctor's checks of the NVIDIA GPUs, their driver and their errors; run on a node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jaxsif.core.problem import Trouble
from jaxsif.core.slurm_env import JOB_GPUS, JOB_ID, STEP_GPUS
from jaxsif.node import driver as drivers
from jaxsif.node import health, kernel_log, nvml, probes
from jaxsif.node.checks import Check, Found, Patient
from jaxsif.node.host_info import Surroundings
from jaxsif.node.isolate import NotChecked
from jaxsif.node.nvml import Reading
from jaxsif.node.visibility import visibility, visible_gpus

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
        "the NVIDIA driver's library and its kernel module are of different versions",
        "drain and reboot the node: the driver was updated while it was in use",
    ),
}


@dataclass(frozen=True)
class BusGpu:
    """A GPU that the PCI bus shows, and the kernel module that drives it."""

    bus_id: str
    kind: str
    module: str | None


def gpus_on_bus(surroundings: Surroundings) -> list[BusGpu]:
    """Those for this system; a GPU that is handed to a virtual machine is not."""
    found = []
    for name in surroundings.names("/sys/bus/pci/devices"):
        folder = f"/sys/bus/pci/devices/{name}"
        if (surroundings.read(f"{folder}/vendor") or "").strip() != _NVIDIA:
            continue
        kind = (surroundings.read(f"{folder}/class") or "").strip()[:6]
        module = _module(surroundings, f"{folder}/driver")
        if kind in (_DISPLAY, _ACCELERATOR) and module != "vfio-pci":
            found.append(BusGpu(name, kind, module))
    return found


def _module(surroundings: Surroundings, link: str) -> str | None:
    try:
        return os.path.basename(os.readlink(surroundings.path(link)))
    except OSError:
        return None


def need_gpu(surroundings: Surroundings) -> None:
    """Raises NotChecked where there is no GPU to look at."""
    if not surroundings.has("/dev/nvidiactl") and not gpus_on_bus(surroundings):
        raise NotChecked(_NO_GPU)


def driver(patient: Patient, limit_s: float) -> Found:
    surroundings = patient.surroundings
    need_gpu(surroundings)
    version = drivers.driver_version(surroundings)
    troubles = list(_no_driver(surroundings))
    if troubles:
        return Found("no driver", troubles)
    said = f"version {version}" if version else "there, version unknown"
    if drivers.OLDEST_DRIVER.get(surroundings.accelerator or ""):
        said += f", for CUDA {drivers.cuda(surroundings)}"
    return Found(said, list(drivers.old_driver(surroundings)))


def _no_driver(surroundings: Surroundings) -> Iterator[Trouble]:
    bus = gpus_on_bus(surroundings)
    if surroundings.has("/dev/nvidiactl") or any(g.module == "nvidia" for g in bus):
        return
    places = ", ".join(gpu.bus_id for gpu in bus)
    yield Trouble(
        "gpu-driver",
        f"NVIDIA GPUs are on the PCI bus ({places}), and no driver of NVIDIA's has them",
        "load the driver (modprobe nvidia), or install it",
        # A workstation may have a card for its screen only.
        is_fatal=any(gpu.kind == _ACCELERATOR for gpu in bus),
    )


def seen_by_job(patient: Patient, limit_s: float) -> Found:
    surroundings = patient.surroundings
    need_gpu(surroundings)
    if JOB_ID not in surroundings.environment:
        raise NotChecked("not in a job")
    troubles = list(visibility(surroundings))
    return Found(f"{visible_gpus(surroundings)} GPUs", troubles)


def _load_nvml() -> Any:
    # Only the GPU images have it.
    return importlib.import_module("pynvml")


def gpu_health(
    load: Callable[[], Any] = _load_nvml,
) -> Callable[[Patient, float], Found]:
    """A check that reads and judges all that NVML tells."""

    def look(patient: Patient, limit_s: float) -> Found:
        need_gpu(patient.surroundings)
        try:
            library = load()
        except ImportError as error:
            raise NotChecked(
                "this Python has no nvidia-ml-py; use an image with CUDA", True
            ) from error
        try:
            reading = nvml.read(library)
        except library.NVMLError as error:
            return _unreadable(error)
        return _judged(patient.surroundings, reading)

    return look


def _unreadable(error: Any) -> Found:
    if error.value == nvml.LIBRARY_NOT_FOUND:
        raise NotChecked(
            f"no libnvidia-ml.so.1 in the container; {_START_WITH_NV}", True
        )
    text, remedy = _INIT_TROUBLES.get(
        error.value,
        (f"the NVIDIA driver cannot be asked: {error}", "see the kernel log; reboot"),
    )
    return Found(str(error), [Trouble("gpu-driver", text, remedy)])


def _judged(surroundings: Surroundings, reading: Reading) -> Found:
    driven = [g for g in gpus_on_bus(surroundings) if g.module == "nvidia"]
    is_in_job = JOB_ID in surroundings.environment
    troubles = health.health_troubles(
        reading,
        # In a job the driver shows the job's GPUs only.
        expected=None if is_in_job or not driven else len(driven),
        ours=_numbers(surroundings) if is_in_job else None,
    )
    return Found(health.summary(reading), list(troubles), reading)


def _numbers(surroundings: Surroundings) -> frozenset[int]:
    """The GPUs of this job on this node, as Slurm writes them: `0,1` or `0-3`."""
    text = surroundings.variable(STEP_GPUS) or surroundings.variable(JOB_GPUS)
    numbers: set[int] = set()
    for first, last in re.findall(r"(?<!\d)(\d{1,4})(?:-(\d{1,4}))?(?!\d)", text):
        numbers |= set(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def xids(patient: Patient, limit_s: float) -> Found:
    need_gpu(patient.surroundings)
    found = kernel_log.read_xids(patient.surroundings)
    said = f"{len(found)} in the kernel's log"
    return Found(said, list(kernel_log.xid_troubles(found)))


def computing(patient: Patient, limit_s: float) -> Found:
    surroundings = patient.surroundings
    need_gpu(surroundings)
    if not surroundings.wants_gpus:
        raise NotChecked("this image, or JAX_PLATFORMS, chooses the CPU")
    if not drivers.has_library(surroundings):
        raise NotChecked(f"no libcuda.so.1 in the container; {_START_WITH_NV}", True)
    gpus = _to_try(patient)
    runs = probes.compute(surroundings.environment, gpus, limit_s)
    slowest_s = max((ran.elapsed_s for ran in runs), default=0.0)
    return Found(
        f"{len(gpus)} GPUs, the slowest in {slowest_s:.1f} s",
        list(probes.compute_troubles(gpus, runs, limit_s)),
    )


def _to_try(patient: Patient) -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them: the job's, or all."""
    listed = patient.surroundings.variable("CUDA_VISIBLE_DEVICES")
    if listed:
        return listed.split(",")[: visible_gpus(patient.surroundings)]
    if patient.reading:
        return [gpu.uuid or str(gpu.index) for gpu in patient.reading.gpus]
    return [str(number) for number in range(visible_gpus(patient.surroundings))]


_DRIVER_HANGS = Trouble(
    "driver-hangs",
    "the NVIDIA driver does not answer: reading the GPUs' health did not end in time",
    "drain and reboot the node; look at the kernel log for Xid",
)

QUICK = (
    Check("GPU driver", driver),
    Check("GPUs of the job", seen_by_job, is_of_node=False),
    Check("GPU errors (Xid)", xids),
    # Without nvidia-persistenced the driver wakes up for it, seconds for every GPU.
    Check("GPU health", gpu_health(), limit_s=15.0, late=_DRIVER_HANGS),
)
SLOW = (Check("computing on GPUs", computing, limit_s=120.0, has_own_children=True),)
