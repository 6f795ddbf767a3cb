"""All checks before a rank starts: none on a healthy node, fatal first, fast."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
from fake_nodes import STEP, gpus, image, kinds, well

from jaxsif.core.errors import Problem
from jaxsif.node import DiskSpace, inspect_host, limits, start_problems


@pytest.mark.parametrize("accelerator", ["cuda12", "cpu"])
def test_a_good_node_has_no_troubles(tmp_path, accelerator):
    image(tmp_path, accelerator)
    gpus(tmp_path)

    assert [] == start_problems(well(tmp_path), "node1")


def test_a_program_outside_of_slurm_and_of_the_image_has_no_troubles(tmp_path):
    assert [] == start_problems(well(tmp_path, {}))


def test_what_is_fatal_comes_first(tmp_path):
    image(tmp_path)
    gpus(tmp_path)
    bad = well(
        tmp_path,
        {**STEP, "http_proxy": "http://p:1", "XLA_FLAGS": "--xla_nosuch=1"},
        disk_space=lambda folder: DiskSpace(1, 1, None, True),
    )

    found = kinds(start_problems(bad, "node1"))

    assert found == [
        ("xla-flags", True),
        ("proxy", True),
        ("disk-full", False),
        ("dev-shm-too-small", False),
    ]


def test_a_program_on_the_cpu_needs_no_shared_memory(tmp_path):
    image(tmp_path, "cpu")
    small = well(
        tmp_path, {}, disk_space=lambda folder: None if "shm" in folder else ROOMY
    )

    assert [] == start_problems(small)


ROOMY = DiskSpace(10**12, 10**12, None, True)


def test_where_cpu_devices_stand_in_for_gpus_shared_memory_counts(tmp_path):
    image(tmp_path, "cpu")
    variables = {**STEP, "JAX_SIF_PLATFORM": "cpu", "JAX_PLATFORMS": "cpu"}
    small = well(
        tmp_path,
        variables,
        disk_space=lambda folder: DiskSpace(2**26, 2**26, 9**9, True),
    )

    assert kinds(start_problems(small, "node1")) == [("dev-shm-too-small", False)]


def test_this_machine_can_be_looked_at():
    here = inspect_host({**os.environ, "JAX_SIF_TOPOLOGY": ""})

    assert here.host_name
    assert here.open_files > 0
    assert here.disk_space("/") is not None
    assert here.disk_space("/no/such/folder") is None
    assert here.resolve("name.invalid.") == ()


def test_the_files_are_those_below_the_root(tmp_path):
    image(tmp_path, "cuda13")

    assert "cuda13" == inspect_host({}, tmp_path).accelerator
    assert None is replace(inspect_host({}), root=tmp_path / "none").accelerator


def test_a_damaged_description_is_no_image(tmp_path):
    image(tmp_path)
    (tmp_path / "opt/jax-sif/image.json").write_text("[1, ")

    assert None is well(tmp_path).accelerator


def test_the_checks_take_milliseconds(tmp_path):
    image(tmp_path)
    gpus(tmp_path, 8)
    host_info = well(tmp_path)
    start_problems(host_info, "node1")
    elapsed_s = []
    for _ in range(20):
        started_s = time.perf_counter()
        start_problems(host_info, "node1")
        elapsed_s.append(time.perf_counter() - started_s)

    # The best of many, because other programs may use this machine.
    assert min(elapsed_s) < 0.005


@pytest.mark.parametrize(
    "error", [OSError(97, "no family"), UnicodeError("label"), ValueError, MemoryError]
)
def test_a_check_that_fails_by_itself_is_left_out(tmp_path, monkeypatch, capfd, error):
    def broken(host_info):
        yield Problem("first", "text", "remedy")
        raise error

    monkeypatch.setattr(limits, "hostname", broken)
    monkeypatch.setenv("JAX_SIF_VERBOSE", "1")

    found = start_problems(well(tmp_path, {}, open_files=10))

    assert [("first", True), ("open-files", True)] == kinds(found)
    assert "broken failed" in capfd.readouterr().err


def test_a_program_in_a_deleted_folder_can_be_looked_at(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.syspath_prepend("")
    gone.rmdir()

    assert "" in inspect_host({}).search_path
