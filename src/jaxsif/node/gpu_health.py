"""Problems of the GPUs, from NVML's data and the kernel log (Xid)."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxsif.core.errors import Problem
from jaxsif.core.text import format_size
from jaxsif.node.host import HostInfo
from jaxsif.node.nvml import FABRIC_STATES, RECOVERY_ACTIONS, Gpu, NvmlReading

_RESET = "drain the node and reset the GPU (nvidia-smi --gpu-reset), or reboot"
_REPLACE = "drain the node and have the GPU replaced"


def health_problems(
    reading: NvmlReading,
    expected: int | None = None,
    job_gpu_minors: frozenset[int] | None = None,
) -> Iterator[Problem]:
    """The problems of every GPU.

    Args:
      reading: NVML's data.
      expected: number of GPUs on the PCI bus; None if unknown.
      job_gpu_minors: the minor numbers of this job's GPUs, which no other job may use;
        None outside a job.
    """
    if expected is not None and len(reading.gpus) < expected:
        yield Problem(
            "gpu-lost",
            f"{expected} NVIDIA GPUs are on the PCI bus, the driver shows"
            f" {len(reading.gpus)}",
            "drain the node and reboot; if it persists, have the GPU inspected",
        )
    for gpu in reading.gpus:
        if gpu.lost_reason:
            yield Problem(
                "gpu-lost", f"{gpu}: the driver reports that {gpu.lost_reason}", _RESET
            )
            continue
        yield from _memory(gpu)
        yield from _fabric(gpu, reading)
        yield from _clocks(gpu)
        yield from _use(gpu, job_gpu_minors)


def _memory(gpu: Gpu) -> Iterator[Problem]:
    if gpu.uncorrected_errors:
        yield Problem(
            "gpu-ecc",
            f"{gpu}: {gpu.uncorrected_errors} uncorrected ECC errors since the driver"
            " was loaded",
            _RESET,
        )
    if gpu.is_page_retirement_pending:
        # No context is created on it meanwhile (docs.nvidia.com/deploy/
        # dynamic-page-retirement, "Use Case 1").
        yield Problem(
            "gpu-retired-pages",
            f"{gpu}: memory pages wait to be retired",
            _RESET,
        )
    if gpu.has_row_remap_failed:
        yield Problem(
            "gpu-row-remap", f"{gpu}: remapping a row of its memory failed", _REPLACE
        )
    elif gpu.is_row_remap_pending:
        # "Unaffected applications can continue" (docs.nvidia.com/deploy/
        # a100-gpu-mem-error-mgmt, "Error Recovery and Response Flags").
        yield Problem(
            "gpu-row-remap",
            f"{gpu}: a row of its memory is remapped at the next reset",
            "reset the GPU when the node is empty (nvidia-smi --gpu-reset)",
            is_fatal=False,
        )
    if gpu.recovery_action:
        action = RECOVERY_ACTIONS.get(gpu.recovery_action, str(gpu.recovery_action))
        yield Problem(
            "gpu-recovery",
            f"{gpu}: the driver requests: {action}",
            f"{action}, drained",
        )


def _fabric(gpu: Gpu, reading: NvmlReading) -> Iterator[Problem]:
    if gpu.fabric_state in (1, 2):
        yield Problem(
            "gpu-nvlink",
            f"{gpu}: the NVSwitch fabric is {FABRIC_STATES[gpu.fabric_state]}, so CUDA"
            " does not start",
            "start nvidia-fabricmanager in the driver's version, or wait for it",
        )
    down = [link for link, is_active in gpu.links if not is_active]
    # A PCIe GPU without bridges has no active link at all.
    has_neighbours = any(
        is_active
        for g in reading.gpus
        if g.name == gpu.name
        for _, is_active in g.links
    )
    if down and has_neighbours:
        yield Problem(
            "gpu-nvlink",
            f"{gpu}: {len(down)} of {len(gpu.links)} NVLinks are down"
            f" ({', '.join(map(str, down))})",
            "drain the node and reset its GPUs; all-reduce is slow meanwhile",
            is_fatal=False,
        )


def _clocks(gpu: Gpu) -> Iterator[Problem]:
    if gpu.throttle_reasons:
        temperature = f" at {gpu.temperature_c} °C" if gpu.temperature_c else ""
        yield Problem(
            "gpu-throttled",
            f"{gpu}: slowed down{temperature}: {', '.join(gpu.throttle_reasons)}",
            "check cooling and power supply; the whole job runs at this GPU's speed",
            is_fatal=False,
        )
    width, maximum = gpu.pcie_width, gpu.pcie_width_max
    if width and maximum and width < maximum:
        # The generation drops when a GPU idles; the width does not.
        yield Problem(
            "gpu-pcie",
            f"{gpu}: PCIe runs on {width} lanes of {maximum}",
            "reseat the GPU or its riser; transfers to the host are slow meanwhile",
            is_fatal=False,
        )


def _use(gpu: Gpu, job_gpu_minors: frozenset[int] | None) -> Iterator[Problem]:
    if gpu.compute_mode == 2:
        yield Problem(
            "gpu-compute-mode",
            f"{gpu}: its compute mode is 'prohibited', so CUDA cannot use it",
            "nvidia-smi --compute-mode=DEFAULT",
        )
    if job_gpu_minors is not None and gpu.minor in job_gpu_minors and gpu.processes:
        users = ", ".join(
            f"process {pid}" + (f" ({format_size(used)})" if used else "")
            for pid, used in gpu.processes
        )
        yield Problem(
            "gpu-busy",
            f"{gpu}: used before this job has started anything there: {users}",
            "end the processes of the earlier job; JAX may not find enough memory",
            is_fatal=False,
        )


def summary(reading: NvmlReading) -> str:
    """One line: GPUs, driver, and the newest CUDA it supports."""
    names = sorted({gpu.name or "unknown" for gpu in reading.gpus})
    parts = [f"{len(reading.gpus)} {' and '.join(names)}"]
    if reading.driver:
        parts.append(f"driver {reading.driver}")
    if reading.cuda:
        parts.append(f"up to CUDA {reading.cuda}")
    return ", ".join(parts)


# Errors of the last day indicate a failing GPU; very recent ones a failed GPU. A
# repaired GPU must not count as failed for a day.
MAX_AGE_S = 24 * 3600.0
FATAL_AGE_S = 15 * 60.0

# Errors of hardware and driver, and whether the GPU needs a reset or repair; others
# (13, 31, 43, 45, ...) come from programs. (docs.nvidia.com/deploy/xid-errors)
_HARDWARE = {
    46: ("the GPU stopped processing", True),
    48: ("double-bit ECC error", True),
    61: ("internal microcontroller halt", True),
    62: ("internal microcontroller halt", True),
    63: ("memory row remapped or page retired", False),
    64: ("memory row or page could not be put out of use", True),
    74: ("NVLink error", False),
    79: ("the GPU has fallen off the bus", True),
    92: ("many corrected ECC errors", False),
    94: ("contained memory error", False),
    95: ("uncontained memory error", True),
    109: ("context switch timeout", False),
    110: ("security fault", True),
    119: ("the GPU's system processor does not respond", True),
    120: ("the GPU's system processor failed", True),
    140: ("unrecovered ECC error", True),
    143: ("the GPU failed to start", True),
}

# One record of /dev/kmsg: `6,1234,5678901,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=...`,
# the third number being microseconds since the boot.
_XID = re.compile(
    r"^\d+,\d+,(\d+),[^;]*;NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)", re.MULTILINE
)


@dataclass(frozen=True)
class Xid:
    """One error, its GPU's PCI bus id and its age."""

    bus_id: str
    number: int
    age_s: float


def read_xids(host_info: HostInfo) -> list[Xid]:
    """The errors since boot that the kernel still keeps. Raises OSError."""
    uptime_s = float(host_info.path("/proc/uptime").read_text().split()[0])
    log = _read_kernel_log(host_info.path("/dev/kmsg"))
    return [
        Xid(bus_id, int(xid), uptime_s - int(since_boot_us) / 1e6)
        for since_boot_us, bus_id, xid in _XID.findall(log)
    ]


def _read_kernel_log(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    records = []
    try:
        while True:
            try:
                # The kernel returns one record at a time.
                record = os.read(descriptor, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # the oldest were overwritten; go on with the next
            if not record:
                break
            records.append(record)
    finally:
        os.close(descriptor)
    return b"".join(records).decode(errors="replace")


def xid_problems(xids: list[Xid]) -> Iterator[Problem]:
    """Hardware errors of the last day, one problem per GPU and kind."""
    counts = Counter(
        (x.bus_id, x.number)
        for x in xids
        if x.number in _HARDWARE and x.age_s < MAX_AGE_S
    )
    for (bus_id, number), count in counts.items():
        meaning, needs_reset = _HARDWARE[number]
        age_s = min(x.age_s for x in xids if (x.bus_id, x.number) == (bus_id, number))
        yield Problem(
            "gpu-xid",
            f"GPU at PCI {bus_id}: Xid {number}, {meaning}, {count} times in the last"
            f" day, the last {_ago(age_s)} ago",
            "drain the node and reset the GPU, or reboot; if it recurs, have the GPU"
            " replaced"
            if needs_reset
            else "watch this GPU; reset it when the node is empty",
            is_fatal=needs_reset and age_s < FATAL_AGE_S,
        )


def _ago(age_s: float) -> str:
    return f"{age_s / 60:.0f} min" if age_s < 7200 else f"{age_s / 3600:.0f} h"
