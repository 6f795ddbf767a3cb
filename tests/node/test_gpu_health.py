"""Problems from NVML's data and from kernel logs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os

import pytest
from fake_nodes import described, kinds, only, put, well

from jaxsif.node.gpu_health import (
    Xid,
    health_problems,
    read_xids,
    summary,
    xid_problems,
)
from jaxsif.node.nvml import Gpu, NvmlReading

UP = tuple((link, True) for link in range(18))


def reading(*gpus: Gpu) -> NvmlReading:
    return NvmlReading("550.54.15", "12.4", gpus)


def gpu(index: int = 3, **facts) -> Gpu:
    normal = {
        "uuid": f"GPU-{index}",
        "name": "H100",
        "minor": index,
        "uncorrected_errors": 0,
        "uncorrected_errors_total": 7,
        "remapped_rows": 2,
        "is_page_retirement_pending": False,
        "is_row_remap_pending": False,
        "has_row_remap_failed": False,
        "recovery_action": 0,
        "temperature_c": 60,
        "throttle_reasons": (),
        "pcie_width": 16,
        "pcie_width_max": 16,
        "pcie_generation": 1,
        "links": UP,
        "fabric_state": 3,
        "compute_mode": 0,
        "processes": ((42, 2**30),),
    }
    return Gpu(index, **{**normal, **facts})


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"compute_mode": 3},
        {"is_mig_on": True},
        {"links": ()},
        {"fabric_state": None},
        {"pcie_width": None},
    ],
)
def test_what_is_normal_is_no_trouble(facts):
    assert [] == list(health_problems(reading(gpu(**facts)), expected=1))


def test_a_gpu_without_data_is_no_problem():
    assert [] == list(health_problems(reading(Gpu(0))))


FAULTS = [
    ({"uncorrected_errors": 12}, "gpu-ecc", True),
    ({"is_page_retirement_pending": True}, "gpu-retired-pages", True),
    ({"is_row_remap_pending": True}, "gpu-row-remap", False),
    ({"has_row_remap_failed": True}, "gpu-row-remap", True),
    (
        {"has_row_remap_failed": True, "is_row_remap_pending": True},
        "gpu-row-remap",
        True,
    ),
    ({"recovery_action": 2}, "gpu-recovery", True),
    ({"throttle_reasons": ("hardware slowdown",)}, "gpu-throttled", False),
    ({"pcie_width": 8}, "gpu-pcie", False),
    ({"links": ((0, True), (1, False), (2, False))}, "gpu-nvlink", False),
    ({"fabric_state": 2}, "gpu-nvlink", True),
    ({"compute_mode": 2}, "gpu-compute-mode", True),
    ({"lost_reason": "it is lost"}, "gpu-lost", True),
]


@pytest.mark.parametrize(("facts", "kind", "fatal"), FAULTS)
def test_each_fault_is_named_with_its_gpu(facts, kind, fatal):
    problem = only(health_problems(reading(gpu(0), gpu(**facts))))

    assert (kind, fatal) == (problem.kind, problem.is_fatal)
    assert problem.text.startswith("GPU 3 (GPU-3): ")


def test_wording(golden):
    faulty = [only(health_problems(reading(gpu(0), gpu(**f)))) for f, *_ in FAULTS]
    missing = only(health_problems(reading(gpu(0)), expected=2))
    many = [Xid("0000:3b:00", 74, age_s) for age_s in (9000.0, 600.0, 1200.0)]
    (repeated,) = xid_problems(many)

    golden("gpu-health", described([*faulty, missing, repeated]))


def test_links_that_are_all_down_are_a_fault_only_beside_gpus_that_have_them():
    down = gpu(1, links=tuple((link, False) for link in range(12)))
    alone = gpu(0, links=tuple((link, False) for link in range(12)))

    assert [] == list(health_problems(reading(alone, down)))
    assert [("gpu-nvlink", False)] == kinds(health_problems(reading(gpu(0), down)))
    assert [] == list(health_problems(reading(gpu(0, name="other"), down)))


def test_a_gpu_that_the_driver_does_not_show_is_missed():
    found = health_problems(reading(gpu(0)), expected=2)

    assert [("gpu-lost", True)] == kinds(found)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (None, []),
        (frozenset({0}), []),
        (frozenset({3}), [("gpu-busy", False)]),
    ],
)
def test_processes_on_a_gpu_before_the_job_starts_are_reported(ours, expected):
    assert expected == kinds(health_problems(reading(gpu()), job_gpu_minors=ours))


def test_the_summary_counts_and_names_them():
    assert "2 H100, driver 550.54.15, up to CUDA 12.4" == summary(
        reading(gpu(0), gpu(1))
    )


LOG = """\
6,339,5140900,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15
4,900,3600000000,-;NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', GPU has fallen off
 SUBSYSTEM=pci
4,901,3660000000,c;NVRM: Xid (PCI:0000:86:00.0): 31, pid=4242, name=python, MMU Fault
6,902,3661000000,-;python: a line with NVRM: Xid (PCI:0000:3b:00): 48 in it
"""


def test_xids_are_read_with_their_gpu_and_age(tmp_path):
    put(tmp_path, "/dev/kmsg", LOG)
    put(tmp_path, "/proc/uptime", "3720.00 1.00\n")

    assert read_xids(well(tmp_path)) == [
        Xid("0000:3b:00", 79, 120.0),
        Xid("0000:86:00.0", 31, 60.0),
    ]


def test_a_log_without_new_lines_does_not_block(tmp_path):
    put(tmp_path, "/proc/uptime", "10.0 1.0\n")
    pipe = put(tmp_path, "/dev/kmsg")
    pipe.unlink()
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDWR), "wb", buffering=0) as writer:
        writer.write(b"4,1,1000000,-;NVRM: Xid (PCI:0000:3b:00): 48, pid=1\n")

        found = read_xids(well(tmp_path))

    assert [Xid("0000:3b:00", 48, 9.0)] == found


def test_a_log_that_cannot_be_read_is_not_checked(tmp_path):
    put(tmp_path, "/proc/uptime", "10.0 1.0\n")

    with pytest.raises(FileNotFoundError):
        read_xids(well(tmp_path))


MINUTE_S, HOUR_S = 60.0, 3600.0


@pytest.mark.parametrize(
    ("number", "age_s", "fatal"),
    [
        (79, 5 * MINUTE_S, True),
        (79, 2 * HOUR_S, False),
        (48, MINUTE_S, True),
        (119, MINUTE_S, True),
        (63, MINUTE_S, False),
        (74, MINUTE_S, False),
        (94, MINUTE_S, False),
    ],
)
def test_an_error_of_the_hardware_is_fatal_while_it_is_fresh(number, age_s, fatal):
    (problem,) = xid_problems([Xid("0000:3b:00", number, age_s)])

    assert ("gpu-xid", fatal) == (problem.kind, problem.is_fatal)
    assert f"GPU at PCI 0000:3b:00: Xid {number}" in problem.text


@pytest.mark.parametrize(
    ("number", "age_s"),
    [(13, MINUTE_S), (31, MINUTE_S), (43, MINUTE_S), (45, MINUTE_S), (79, 25 * HOUR_S)],
)
def test_errors_of_programs_and_of_yesterday_are_no_trouble(number, age_s):
    assert [] == list(xid_problems([Xid("0000:3b:00", number, age_s)]))
