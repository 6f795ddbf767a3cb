"""Xids in the kernel's log: which are of the hardware, of which GPU, and how old."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os

import pytest
from nodes import put, well

from jaxsif.node.isolate import CheckSkipped
from jaxsif.node.kernel_log import Xid, read_xids, xid_problems

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

    with pytest.raises(CheckSkipped, match=r"/dev/kmsg cannot be read \(No such file"):
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


def test_many_errors_of_one_gpu_are_reported_once():
    many = [Xid("0000:3b:00", 74, age_s) for age_s in (9000.0, 600.0, 1200.0)]

    (problem,) = xid_problems(many)

    assert "Xid 74, NVLink error, 3 times in the last day, the last 10 min ago" in (
        problem.text
    )
