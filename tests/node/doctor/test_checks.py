"""The doctor's checks of the disk, the clock and the import of JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os

from fake_nodes import described, kinds

from jaxsif.node.doctor.checks import (
    import_problems,
    is_clock_synchronized,
    write_problems,
)
from jaxsif.node.doctor.isolate import CommandResult


def test_a_folder_that_can_be_written_is_no_trouble_and_is_left_empty(tmp_path):
    assert [] == list(write_problems(tmp_path))
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path):
    assert [("not-writable", True)] == kinds(write_problems(tmp_path / "none"))


def test_a_full_disk_is_distinguished_from_other_faults(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    assert [("disk-full", True)] == kinds(write_problems(tmp_path))


def test_a_disk_that_gives_back_other_bytes_is_found_out(tmp_path, monkeypatch):
    def spoil(descriptor):
        os.pwrite(descriptor, b"other", 4096)

    monkeypatch.setattr(os, "fsync", spoil)

    assert [("not-writable", True)] == kinds(write_problems(tmp_path))


def test_the_kernel_can_be_asked_for_its_clock():
    assert is_clock_synchronized() in (True, False)


def test_a_jax_that_does_not_import_is_fatal(golden):
    failed = CommandResult(1, "ImportError: numpy\n", 1.0)
    silent = CommandResult(None, "", 60.0)

    found = [p for ran in (failed, silent) for p in import_problems(ran, 60.0)]

    assert [("jax-import", True)] * 2 == kinds(found)
    golden("jax-import", described(found))


def test_a_jax_that_imports_is_no_trouble():
    assert [] == list(import_problems(CommandResult(0, "0.12.0.1\n", 0.6), 60.0))
