"""What the NVIDIA driver tells of the node's GPUs, read through NVML; runs in a child of the doctor's."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

# Names and numbers are those of nvml.h; the package nvidia-ml-py hands them through.
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
VERSION_MISMATCH = 18
_GONE = {14: "its InfoROM is corrupt", 15: "it is lost", 16: "it must be reset"}

_UNCORRECTED = 1
_SINCE_LOADED, _EVER = 0, 1
_MOST_LINKS = 36
# Of one link and direction, by NVML's number of the NVLink version (1.0, 2.0, 2.2, 3.0,
# 3.1, 4.0, 5.0); NVIDIA states both directions together, 50 GB/s for versions 2 to 4.
_LINK_GB_PER_S = {1: 20, 2: 25, 3: 25, 4: 25, 5: 25, 6: 25, 7: 50}
_RECOVERY_ACTION_FIELD = 230
_NOT_AVAILABLE = 2**64 - 1

# Reasons for low clocks that are no choice of the user's and no sign of idleness.
_SLOW_REASONS = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
COMPUTE_MODES = {0: "default", 2: "prohibited", 3: "exclusive process"}
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
    """One GPU. None: this model, driver or user cannot tell."""

    index: int
    uuid: str | None = None
    name: str | None = None
    bus_id: str | None = None
    minor: int | None = None
    gone: str | None = None
    is_ecc_on: bool | None = None
    uncorrected_errors: int | None = None
    uncorrected_errors_ever: int | None = None
    is_page_retirement_pending: bool | None = None
    remapped_rows: int | None = None
    is_row_remap_pending: bool | None = None
    has_row_remap_failed: bool | None = None
    recovery_action: int | None = None
    temperature_c: int | None = None
    slow_reasons: tuple[str, ...] | None = None
    pcie_width: int | None = None
    pcie_width_most: int | None = None
    pcie_generation: int | None = None
    links: tuple[tuple[int, bool], ...] = ()
    # Of all active links together, one direction, 1e9 bytes a second.
    nvlink_gb_per_s: float | None = None
    fabric_state: int | None = None
    compute_mode: int | None = None
    is_mig_on: bool | None = None
    memory_bytes: int | None = None
    processes: tuple[tuple[int, int | None], ...] | None = None

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.uuid or self.bus_id or 'unknown'})"


@dataclass(frozen=True)
class Reading:
    """All that NVML told; `cuda` is the newest version that the driver can serve."""

    driver: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]


class _Gone(Exception):
    """The GPU does not answer as one that works."""


def read(nvml: Any) -> Reading:
    """Asks the driver everything. Raises nvml.NVMLError when it cannot be asked."""
    nvml.nvmlInit()
    ask = _Asker(nvml)
    cuda = ask("nvmlSystemGetCudaDriverVersion")
    gpus = [_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    return Reading(
        driver=_text(ask("nvmlSystemGetDriverVersion")),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        gpus=tuple(gpu for gpu in gpus if gpu is not None),
    )


class _Asker:
    """Asks one question after the other; what is not supported is None."""

    def __init__(self, nvml: Any, *handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def __call__(self, name: str, *arguments: Any) -> Any:
        question = getattr(self._nvml, name, None)
        if question is None:
            return None
        try:
            return question(*self._handle, *arguments)
        except self._nvml.NVMLError as error:
            if error.value in _GONE:
                raise _Gone(_GONE[error.value]) from error
            return None


def _gpu(nvml: Any, index: int) -> Gpu | None:
    """One GPU; None when it belongs to somebody else's job."""
    facts: dict[str, Any] = {"index": index}
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        if error.value == NO_PERMISSION:
            return None
        return Gpu(index, gone=_GONE.get(error.value, f"it cannot be opened: {error}"))
    try:
        ask = _Asker(nvml, handle)
        for part in (_name, _memory, _row_remapping, _speed, _bus, _use):
            facts |= part(ask)
        facts |= _fabric(nvml, ask)
    except _Gone as reason:
        facts["gone"] = str(reason)
    return Gpu(**facts)


def _name(ask: _Asker) -> dict[str, Any]:
    bus = ask("nvmlDeviceGetPciInfo")
    return {
        "uuid": _text(ask("nvmlDeviceGetUUID")),
        "name": _text(ask("nvmlDeviceGetName")),
        "bus_id": _text(bus.busId) if bus else None,
        "minor": ask("nvmlDeviceGetMinorNumber"),
    }


def _memory(ask: _Asker) -> dict[str, Any]:
    modes = ask("nvmlDeviceGetEccMode")
    memory = ask("nvmlDeviceGetMemoryInfo")
    return {
        "is_ecc_on": _flag(modes[0] if modes else None),
        "uncorrected_errors": ask(
            "nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _SINCE_LOADED
        ),
        "uncorrected_errors_ever": ask(
            "nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _EVER
        ),
        "is_page_retirement_pending": _flag(
            ask("nvmlDeviceGetRetiredPagesPendingStatus")
        ),
        "memory_bytes": memory.total if memory else None,
    }


def _row_remapping(ask: _Asker) -> dict[str, Any]:
    rows = ask("nvmlDeviceGetRemappedRows") or (None, None, None, None)
    return {
        "remapped_rows": rows[1],
        "is_row_remap_pending": _flag(rows[2]),
        "has_row_remap_failed": _flag(rows[3]),
        "recovery_action": _recovery_action(ask),
    }


def _recovery_action(ask: _Asker) -> int | None:
    fields = ask("nvmlDeviceGetFieldValues", [_RECOVERY_ACTION_FIELD])
    if not fields or fields[0].nvmlReturn:
        return None
    return int(fields[0].value.uiVal)


def _speed(ask: _Asker) -> dict[str, Any]:
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        # The name before driver 535.
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    slow = [text for bit, text in _SLOW_REASONS.items() if (reasons or 0) & bit]
    return {
        "temperature_c": ask("nvmlDeviceGetTemperature", 0),
        "slow_reasons": None if reasons is None else tuple(slow),
    }


def _bus(ask: _Asker) -> dict[str, Any]:
    states = [(n, ask("nvmlDeviceGetNvLinkState", n)) for n in range(_MOST_LINKS)]
    return {
        "pcie_width": ask("nvmlDeviceGetCurrPcieLinkWidth"),
        "pcie_width_most": ask("nvmlDeviceGetMaxPcieLinkWidth"),
        "pcie_generation": ask("nvmlDeviceGetCurrPcieLinkGeneration"),
        "links": tuple((n, bool(state)) for n, state in states if state is not None),
        "nvlink_gb_per_s": _nvlink(ask, [n for n, state in states if state]),
    }


def _nvlink(ask: _Asker, active: list[int]) -> float | None:
    """None: no link is active, or one is of a version that nobody knows here."""
    speeds = [_LINK_GB_PER_S.get(ask("nvmlDeviceGetNvLinkVersion", n)) for n in active]
    known = [speed for speed in speeds if speed is not None]
    return float(sum(known)) if known and len(known) == len(speeds) else None


def _use(ask: _Asker) -> dict[str, Any]:
    processes = ask("nvmlDeviceGetComputeRunningProcesses")
    mig = ask("nvmlDeviceGetMigMode")
    return {
        "compute_mode": ask("nvmlDeviceGetComputeMode"),
        "is_mig_on": _flag(mig[0] if mig else None),
        "processes": None
        if processes is None
        else tuple((p.pid, _bytes(p.usedGpuMemory)) for p in processes),
    }


def _fabric(nvml: Any, ask: _Asker) -> dict[str, Any]:
    """The NVSwitch fabric, without which CUDA does not start (error 802)."""
    make = getattr(nvml, "c_nvmlGpuFabricInfoV_t", None)
    if make is None:
        return {}
    fabric = make()
    told = ask("nvmlDeviceGetGpuFabricInfoV", ctypes.byref(fabric))
    return {"fabric_state": None if told is None else fabric.state or None}


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _bytes(value: int | None) -> int | None:
    return None if value == _NOT_AVAILABLE else value
