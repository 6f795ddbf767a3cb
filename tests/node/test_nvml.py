"""GPUs read through NVML: every field, and functions that are not supported."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest
from fake_nvml import HEALTHY, LOST, NOT_SUPPORTED, FakeNvml, NVMLError

from jaxsif.node.nvml import Gpu, read

TOO_LATE_NAMES = {"CurrentClocksEventReasons", "GpuFabricInfoV"}


def test_all_data_of_a_healthy_gpu_are_read():
    reading = read(FakeNvml({}, {}))

    assert ("550.54.15", "12.4", 2) == (reading.driver, reading.cuda, len(reading.gpus))
    assert reading.gpus[1] == Gpu(
        index=1,
        uuid="GPU-1",
        name="NVIDIA H100 80GB HBM3",
        bus_id="00000000:01:00.0",
        minor=1,
        is_ecc_on=True,
        uncorrected_errors=0,
        uncorrected_errors_total=0,
        remapped_rows=0,
        is_row_remap_pending=False,
        has_row_remap_failed=False,
        recovery_action=0,
        temperature_c=34,
        throttle_reasons=(),
        pcie_width=16,
        pcie_width_max=16,
        pcie_generation=5,
        links=tuple((link, True) for link in range(18)),
        nvlink_gb_per_s=450.0,
        fabric_state=3,
        compute_mode=0,
        is_mig_on=False,
        memory_bytes=80 * 2**30,
        processes=(),
    )


@pytest.mark.parametrize("question", HEALTHY)
def test_each_question_may_be_unsupported(question):
    (gpu,) = read(FakeNvml({question: NVMLError(NOT_SUPPORTED)})).gpus

    assert gpu.lost_reason is None


def test_a_model_that_supports_nothing_is_a_gpu_all_the_same():
    silent = {question: NVMLError(NOT_SUPPORTED) for question in HEALTHY}

    (gpu,) = read(FakeNvml(silent)).gpus

    filled = {f.name for f in fields(Gpu) if getattr(gpu, f.name) not in (None, ())}
    assert {"index"} == filled


def test_an_older_module_that_lacks_names_is_no_error(monkeypatch):
    for name in TOO_LATE_NAMES:
        monkeypatch.delitem(HEALTHY, name)
    monkeypatch.setitem(HEALTHY, "CurrentClocksThrottleReasons", 0x40)
    monkeypatch.delattr(FakeNvml, "c_nvmlGpuFabricInfoV_t")

    (gpu,) = read(FakeNvml({})).gpus

    assert (("hardware thermal slowdown",), None) == (
        gpu.throttle_reasons,
        gpu.fabric_state,
    )


def test_names_may_come_as_bytes():
    (gpu,) = read(FakeNvml({"Name": b"Tesla V100"})).gpus

    assert "Tesla V100" == gpu.name


@pytest.mark.parametrize("question", ["HandleByIndex", "TotalEccErrors", "UUID"])
def test_a_lost_gpu_is_distinguished_from_unsupported_functions(question):
    lost, well = read(FakeNvml({question: NVMLError(LOST)}, {})).gpus

    assert ("it is lost", None) == (lost.lost_reason, well.lost_reason)


def test_a_gpu_that_cannot_be_opened_is_gone():
    (gpu,) = read(FakeNvml({"HandleByIndex": NVMLError(999)})).gpus

    assert "it cannot be opened: NVML error 999" == gpu.lost_reason


def test_a_gpu_of_another_users_job_is_left_out():
    reading = read(FakeNvml({"HandleByIndex": NVMLError(4)}, {}))

    assert [1] == [gpu.index for gpu in reading.gpus]


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x1, ()),
        (0x2 | 0x4 | 0x100, ()),
        (0x8, ("hardware slowdown",)),
        (0x20, ("software thermal slowdown",)),
        (0x8 | 0x40, ("hardware slowdown", "hardware thermal slowdown")),
        (0x80, ("hardware power brake",)),
    ],
)
def test_only_forced_low_clocks_are_reasons(bits, reasons):
    (gpu,) = read(FakeNvml({"CurrentClocksEventReasons": bits})).gpus

    assert reasons == gpu.throttle_reasons


def test_processes_and_their_memory_are_read():
    used = [
        SimpleNamespace(pid=42, usedGpuMemory=2**30),
        SimpleNamespace(pid=43, usedGpuMemory=None),
        SimpleNamespace(pid=44, usedGpuMemory=2**64 - 1),
    ]

    (gpu,) = read(FakeNvml({"ComputeRunningProcesses": used})).gpus

    assert ((42, 2**30), (43, None), (44, None)) == gpu.processes


def test_a_driver_that_cannot_be_queried_raises_the_reason():
    with pytest.raises(NVMLError) as caught:
        read(FakeNvml(init=18))

    assert 18 == caught.value.value
