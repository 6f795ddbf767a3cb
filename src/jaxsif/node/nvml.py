"""Read the state of the node's GPUs through NVML."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

# Names and numbers from nvml.h; the package nvidia-ml-py uses the same.
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
VERSION_MISMATCH = 18
_LOST_REASONS = {14: "its InfoROM is corrupt", 15: "it is lost", 16: "it must be reset"}

_UNCORRECTED = 1
_VOLATILE, _AGGREGATE = 0, 1
_MAX_NVLINKS = 36
# Per link and direction, by NVML's number of the NVLink version (1.0, 2.0, 2.2, 3.0,
# 3.1, 4.0, 5.0); NVIDIA states both directions together, 50 GB/s for versions 2 to 4.
_LINK_GB_PER_S = {1: 20, 2: 25, 3: 25, 4: 25, 5: 25, 6: 25, 7: 50}
_RECOVERY_ACTION_FIELD = 230
_NOT_AVAILABLE = 2**64 - 1

# Reasons for low clocks other than idleness or the user's choice.
_THROTTLE_REASONS = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
RECOVERY_ACTIONS = {
    1: "reset the GPU",
    2: "reboot the node",
    3: "drain its peer-to-peer traffic",
    4: "drain and reset the GPU",
    5: "recover its IMEX domain",
    6: "reset its bus",
    7: "restart the system",
}
FABRIC_STATES = {1: "not started", 2: "in progress", 3: "completed"}


@dataclass(frozen=True)
class Gpu:
    """One GPU. None: not available for this model, driver or user."""

    index: int
    uuid: str | None = None
    name: str | None = None
    bus_id: str | None = None
    minor: int | None = None
    lost_reason: str | None = None
    is_ecc_on: bool | None = None
    uncorrected_errors: int | None = None
    uncorrected_errors_total: int | None = None
    is_page_retirement_pending: bool | None = None
    remapped_rows: int | None = None
    is_row_remap_pending: bool | None = None
    has_row_remap_failed: bool | None = None
    recovery_action: int | None = None
    temperature_c: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_generation: int | None = None
    links: tuple[tuple[int, bool], ...] = ()
    # Sum over all active links, one direction, in 1e9 bytes per second.
    nvlink_gb_per_s: float | None = None
    fabric_state: int | None = None
    compute_mode: int | None = None
    is_mig_on: bool | None = None
    memory_bytes: int | None = None
    processes: tuple[tuple[int, int | None], ...] | None = None

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.uuid or self.bus_id or 'unknown'})"


@dataclass(frozen=True)
class NvmlReading:
    """NVML's data; `cuda` is the newest version that the driver supports."""

    driver: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]


class _GpuLost(Exception):
    """The GPU does not respond as a working one does."""


def read(nvml: Any) -> NvmlReading:
    """Query the driver. Raises nvml.NVMLError if that is not possible."""
    nvml.nvmlInit()
    query = _NvmlQuery(nvml)
    cuda = query("nvmlSystemGetCudaDriverVersion")
    gpus = [_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    return NvmlReading(
        driver=_text(query("nvmlSystemGetDriverVersion")),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        gpus=tuple(gpu for gpu in gpus if gpu is not None),
    )


class _NvmlQuery:
    """Calls NVML functions; an unsupported one returns None."""

    def __init__(self, nvml: Any, *handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def __call__(self, name: str, *arguments: Any) -> Any:
        function = getattr(self._nvml, name, None)
        if function is None:
            return None
        try:
            return function(*self._handle, *arguments)
        except self._nvml.NVMLError as error:
            if error.value in _LOST_REASONS:
                raise _GpuLost(_LOST_REASONS[error.value]) from error
            return None


def _gpu(nvml: Any, index: int) -> Gpu | None:
    """One GPU; None if it belongs to another user's job."""
    facts: dict[str, Any] = {"index": index}
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        if error.value == NO_PERMISSION:
            return None
        return Gpu(
            index,
            lost_reason=_LOST_REASONS.get(error.value, f"it cannot be opened: {error}"),
        )
    try:
        query = _NvmlQuery(nvml, handle)
        for part in (_name, _memory, _row_remapping, _clocks, _bus, _use):
            facts |= part(query)
        facts |= _fabric(nvml, query)
    except _GpuLost as reason:
        facts["lost_reason"] = str(reason)
    return Gpu(**facts)


def _name(query: _NvmlQuery) -> dict[str, Any]:
    bus = query("nvmlDeviceGetPciInfo")
    return {
        "uuid": _text(query("nvmlDeviceGetUUID")),
        "name": _text(query("nvmlDeviceGetName")),
        "bus_id": _text(bus.busId) if bus else None,
        "minor": query("nvmlDeviceGetMinorNumber"),
    }


def _memory(query: _NvmlQuery) -> dict[str, Any]:
    modes = query("nvmlDeviceGetEccMode")
    memory = query("nvmlDeviceGetMemoryInfo")
    return {
        "is_ecc_on": _flag(modes[0] if modes else None),
        "uncorrected_errors": query(
            "nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE
        ),
        "uncorrected_errors_total": query(
            "nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _AGGREGATE
        ),
        "is_page_retirement_pending": _flag(
            query("nvmlDeviceGetRetiredPagesPendingStatus")
        ),
        "memory_bytes": memory.total if memory else None,
    }


def _row_remapping(query: _NvmlQuery) -> dict[str, Any]:
    rows = query("nvmlDeviceGetRemappedRows") or (None, None, None, None)
    return {
        "remapped_rows": rows[1],
        "is_row_remap_pending": _flag(rows[2]),
        "has_row_remap_failed": _flag(rows[3]),
        "recovery_action": _recovery_action(query),
    }


def _recovery_action(query: _NvmlQuery) -> int | None:
    fields = query("nvmlDeviceGetFieldValues", [_RECOVERY_ACTION_FIELD])
    if not fields or fields[0].nvmlReturn:
        return None
    return int(fields[0].value.uiVal)


def _clocks(query: _NvmlQuery) -> dict[str, Any]:
    reasons = query("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        # The name before driver 535.
        reasons = query("nvmlDeviceGetCurrentClocksThrottleReasons")
    throttled = [
        text for bit, text in _THROTTLE_REASONS.items() if (reasons or 0) & bit
    ]
    return {
        "temperature_c": query("nvmlDeviceGetTemperature", 0),
        "throttle_reasons": None if reasons is None else tuple(throttled),
    }


def _bus(query: _NvmlQuery) -> dict[str, Any]:
    states = [(n, query("nvmlDeviceGetNvLinkState", n)) for n in range(_MAX_NVLINKS)]
    return {
        "pcie_width": query("nvmlDeviceGetCurrPcieLinkWidth"),
        "pcie_width_max": query("nvmlDeviceGetMaxPcieLinkWidth"),
        "pcie_generation": query("nvmlDeviceGetCurrPcieLinkGeneration"),
        "links": tuple((n, bool(state)) for n, state in states if state is not None),
        "nvlink_gb_per_s": _nvlink(query, [n for n, state in states if state]),
    }


def _nvlink(query: _NvmlQuery, active: list[int]) -> float | None:
    """None if no link is active, or one has an unknown version."""
    speeds = [
        _LINK_GB_PER_S.get(query("nvmlDeviceGetNvLinkVersion", n)) for n in active
    ]
    known = [speed for speed in speeds if speed is not None]
    return float(sum(known)) if known and len(known) == len(speeds) else None


def _use(query: _NvmlQuery) -> dict[str, Any]:
    processes = query("nvmlDeviceGetComputeRunningProcesses")
    mig = query("nvmlDeviceGetMigMode")
    return {
        "compute_mode": query("nvmlDeviceGetComputeMode"),
        "is_mig_on": _flag(mig[0] if mig else None),
        "processes": None
        if processes is None
        else tuple((p.pid, _bytes(p.usedGpuMemory)) for p in processes),
    }


def _fabric(nvml: Any, query: _NvmlQuery) -> dict[str, Any]:
    """The NVSwitch fabric, without which CUDA does not start (error 802)."""
    make = getattr(nvml, "c_nvmlGpuFabricInfoV_t", None)
    if make is None:
        return {}
    fabric = make()
    status = query("nvmlDeviceGetGpuFabricInfoV", ctypes.byref(fabric))
    return {"fabric_state": None if status is None else fabric.state or None}


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _bytes(value: int | None) -> int | None:
    return None if value == _NOT_AVAILABLE else value
