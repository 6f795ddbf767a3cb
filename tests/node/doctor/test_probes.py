"""Probes in child processes: their results, and that they cannot block."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import sys
import time

import pytest
from nodes import kinds, only

from jaxsif.node.doctor import probes
from jaxsif.node.doctor.probes import (
    CommandResult,
    compute_troubles,
    import_trouble,
    is_clock_kept,
    run,
    write_trouble,
)

RIGHT = CommandResult(0, "a warning\ngpu 5559680.0\n", 2.0)


def python(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", program]


def test_a_folder_that_can_be_written_is_no_trouble_and_is_left_empty(tmp_path):
    assert [] == list(write_trouble(tmp_path))
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path):
    problem = only(write_trouble(tmp_path / "none"))

    assert ("not-writable", True) == (problem.kind, problem.is_fatal)
    assert "none cannot be written: No such file or directory" in problem.text


def test_a_full_disk_is_distinguished_from_other_faults(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    assert [("disk-full", True)] == kinds(write_trouble(tmp_path))


def test_a_disk_that_gives_back_other_bytes_is_found_out(tmp_path, monkeypatch):
    def spoil(descriptor):
        os.pwrite(descriptor, b"other", 4096)

    monkeypatch.setattr(os, "fsync", spoil)

    problem = only(write_trouble(tmp_path))
    assert "not-writable" == problem.kind
    assert "differ from those written" in problem.text


def test_the_kernel_can_be_asked_for_its_clock():
    assert is_clock_kept() in (True, False)


def test_commands_run_side_by_side_with_variables_of_their_own():
    show = python(
        "import os, sys; print(os.environ['X']); sys.exit(int(os.environ['X']))"
    )

    first, second = run([show, show], [{"X": "0"}, {"X": "3"}], 20.0)

    assert (0, "0", 3, "3") == (
        first.status,
        first.last_line,
        second.status,
        second.last_line,
    )


def test_a_command_that_never_ends_is_left_behind_with_its_children():
    program = "import os, signal; os.fork(); signal.pause()"
    started_s = time.monotonic()

    (late,) = run([python(program)], [{}], 0.2)

    assert None is late.status
    assert time.monotonic() - started_s < 5


def test_each_gpu_is_tried_alone_and_never_on_the_cpu(monkeypatch):
    seen = []

    def fake(commands, environments, limit_s):
        seen.extend(
            (e["CUDA_VISIBLE_DEVICES"], e["JAX_PLATFORMS"]) for e in environments
        )
        return []

    monkeypatch.setattr(probes, "run", fake)
    probes.compute({"PATH": "/bin"}, ["GPU-1", "GPU-2"], 1.0)

    assert [("GPU-1", "cuda"), ("GPU-2", "cuda")] == seen


@pytest.mark.parametrize(
    ("ran", "text"),
    [
        (CommandResult(None, "", 120.0), "did not end within 120 s"),
        (
            CommandResult(1, "Traceback\nRuntimeError: no device\n", 1.0),
            "RuntimeError: no device",
        ),
        (CommandResult(0, "gpu 5559681.0\n", 1.0), "gave 'gpu 5559681.0'"),
        (CommandResult(0, "cpu 5559680.0\n", 1.0), "gave 'cpu 5559680.0'"),
        (CommandResult(0, "", 1.0), "gave ''"),
    ],
)
def test_a_gpu_that_does_not_compute_well_is_named(ran, text):
    problem = only(compute_troubles(["GPU-1", "GPU-2"], [RIGHT, ran], 120.0))

    assert ("gpu-compute", True) == (problem.kind, problem.is_fatal)
    assert problem.text.startswith("GPU GPU-2: a product of two small matrices")
    assert text in problem.text


def test_gpus_that_compute_well_are_no_trouble():
    assert [] == list(compute_troubles(["GPU-1"], [RIGHT], 120.0))


def test_the_product_is_what_the_program_says_it_is():
    # The trace of x times its transpose is the sum of the squares of all elements.
    assert f"gpu {float(sum(i * i for i in range(256)))}" == RIGHT.last_line
    assert float(sum(i * i for i in range(256))) < 2**24


@pytest.mark.parametrize(
    ("ran", "text"),
    [
        (
            CommandResult(1, "ImportError: numpy\n", 1.0),
            "failed with status 1: ImportError: numpy",
        ),
        (CommandResult(None, "", 60.0), "did not end within 60 s"),
    ],
)
def test_a_jax_that_does_not_import_is_fatal(ran, text):
    problem = only(import_trouble(ran, 60.0))

    assert ("jax-import", True) == (problem.kind, problem.is_fatal)
    assert text in problem.text


def test_a_jax_that_imports_is_no_trouble():
    assert [] == list(import_trouble(CommandResult(0, "0.12.0.1\n", 0.6), 60.0))
