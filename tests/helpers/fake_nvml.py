"""A stand-in for the module pynvml: a driver with the GPUs of a test."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
import signal
from types import SimpleNamespace
from typing import Any

NOT_SUPPORTED = 3
LOST = 15
GIB = 2**30


class NVMLError(Exception):
    """As in pynvml, its number is `value`."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return f"NVML error {self.value}"


# What a healthy GPU of a data centre answers, by the question's name.
HEALTHY: dict[str, Any] = {
    "Name": "NVIDIA H100 80GB HBM3",
    "UUID": "GPU-{index}",
    "PciInfo": SimpleNamespace(busId="00000000:{index:02x}:00.0"),
    "MinorNumber": "{index}",
    "EccMode": [1, 1],
    "TotalEccErrors": {(1, 0): 0, (1, 1): 0},
    "RetiredPagesPendingStatus": NVMLError(NOT_SUPPORTED),
    "MemoryInfo": SimpleNamespace(total=80 * GIB),
    "RemappedRows": (0, 0, 0, 0),
    "FieldValues": [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=0))],
    "CurrentClocksEventReasons": 0x1,
    "Temperature": {(0,): 34},
    "CurrPcieLinkWidth": 16,
    "MaxPcieLinkWidth": 16,
    "CurrPcieLinkGeneration": 5,
    "NvLinkState": {(link,): 1 for link in range(18)},
    "NvLinkVersion": {(link,): 6 for link in range(18)},
    "ComputeMode": 0,
    "MigMode": [0, 0],
    "ComputeRunningProcesses": [],
    "GpuFabricInfoV": 3,
}


class _Fabric(ctypes.Structure):
    _fields_ = (("state", ctypes.c_ubyte),)


class FakeNvml:
    """Answers for its GPUs; an NVMLError in an answer's place is raised."""

    NVMLError = NVMLError
    c_nvmlGpuFabricInfoV_t = _Fabric

    def __init__(
        self, *gpus: dict[str, Any], init: int = 0, hangs: bool = False
    ) -> None:
        """Each GPU is what it says differently from a healthy one."""
        self._gpus = gpus
        self._init = init
        self._hangs = hangs

    def nvmlInit(self) -> None:
        if self._hangs:
            signal.pause()
        if self._init:
            raise NVMLError(self._init)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.15"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 12040

    def nvmlDeviceGetCount(self) -> int:
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        answer = self._gpus[index].get("HandleByIndex")
        if isinstance(answer, NVMLError):
            raise answer
        return index

    def __getattr__(self, name: str) -> Any:
        question = name.removeprefix("nvmlDeviceGet")
        if question not in HEALTHY:
            raise AttributeError(name)
        return lambda handle, *arguments: self._answer(handle, question, arguments)

    def _answer(self, index: int, question: str, arguments: tuple[Any, ...]) -> Any:
        answer = self._gpus[index].get(question, HEALTHY[question])
        if question == "GpuFabricInfoV" and isinstance(answer, int):
            arguments[0]._obj.state = answer
            return 0
        if isinstance(answer, dict):
            answer = answer.get(arguments, NVMLError(NOT_SUPPORTED))
        if isinstance(answer, NVMLError):
            raise answer
        return _numbered(answer, index)


def _numbered(answer: Any, index: int) -> Any:
    if answer == "{index}":
        return index
    if isinstance(answer, str):
        return answer.format(index=index)
    if isinstance(answer, SimpleNamespace) and hasattr(answer, "busId"):
        return SimpleNamespace(busId=answer.busId.format(index=index))
    return answer
