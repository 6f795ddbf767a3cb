"""Checks of a node's name, limits and directories, on simulated nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
from fake_nodes import PLENTY, STEP, image, kinds, only, put, well

from jaxsif.node import DiskSpace, limits
from jaxsif.node.host import GIB, MIB

ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        STEP,
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"},
        {**ALLOCATION, "OMPI_COMM_WORLD_SIZE": "8"},
        {**ALLOCATION, "PMIX_RANK": "0"},
        {**ALLOCATION, "JAX_COORDINATOR_ADDRESS": "node1:1234"},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "many"},
    ],
)
def test_a_program_with_a_launcher_or_alone_is_no_trouble(tmp_path, environment):
    assert [] == list(limits.not_under_srun(well(tmp_path, environment)))


@pytest.mark.parametrize(
    "environment",
    [ALLOCATION, {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}],
)
def test_a_plain_python_in_an_allocation_of_several_gets_srun_as_remedy(
    tmp_path, environment
):
    problem = only(limits.not_under_srun(well(tmp_path, environment)))

    assert ("not-under-srun", True) == (problem.kind, problem.is_fatal)
    assert "on 2 nodes, but this program was not started by srun" in problem.text
    assert "srun singularity run" in problem.remedy


def test_an_unresolvable_own_name_is_fatal(tmp_path):
    problem = only(limits.hostname(well(tmp_path, resolve=lambda name: ())))

    assert ("hostname-unresolvable", True) == (problem.kind, problem.is_fatal)
    assert "'node2' does not resolve" in problem.text


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (STEP, [("hostname-unresolvable", False)]),
        ({**STEP, "JAX_PLATFORMS": "cpu"}, [("hostname-unresolvable", True)]),
        ({**STEP, "JAX_SIF_PLATFORM": "cpu"}, [("hostname-unresolvable", True)]),
        ({**STEP, "SLURM_STEP_NODELIST": "node2"}, []),
        ({**STEP, "SLURM_STEP_NODELIST": "node["}, []),
        # Another launcher's list may name fewer nodes than there are.
        (
            {**STEP, "SLURM_STEP_NODELIST": "n", "SLURM_STEP_NUM_NODES": "2"},
            [("hostname-unresolvable", False)],
        ),
        ({}, []),
    ],
)
@pytest.mark.parametrize("address", ["127.0.1.1", "::1"])
def test_a_loopback_address_matters_to_a_step_on_several_nodes(
    tmp_path, environment, expected, address
):
    image(tmp_path)
    node = well(tmp_path, environment, resolve=lambda name: (address, "10.0.0.2"))

    assert expected == kinds(limits.hostname(node))


@pytest.mark.parametrize(
    ("limit", "processes", "rank", "platform", "expected"),
    [
        (1024, "8", "5", "cpu", []),
        (1024, "960", "5", "cpu", []),
        (1024, "961", "5", "cpu", [("open-files", True)]),
        (1024, "10000", "5", "", []),
        (1024, "10000", "0", "", [("open-files", True)]),
        (512, "8", "5", "cpu", [("open-files", False)]),
        (math.inf, "10000", "0", "cpu", []),
        (60, "1", "0", "cpu", [("open-files", True)]),
    ],
)
def test_connections_to_all_others_need_open_files(
    tmp_path, limit, processes, rank, platform, expected
):
    image(tmp_path)
    environment = {
        **STEP,
        "SLURM_NTASKS": processes,
        "SLURM_PROCID": rank,
        "JAX_PLATFORMS": platform,
    }
    node = well(tmp_path, environment, open_files=limit)

    assert expected == kinds(limits.open_files(node))


@pytest.mark.parametrize(
    ("most", "remedy"),
    [(1048576, "ulimit -n 4096"), (1024, "the hard limit is 1024: raise LimitNOFILE")],
)
def test_who_can_raise_the_number_of_open_files_is_said(tmp_path, most, remedy):
    image(tmp_path)
    environment = {**STEP, "SLURM_NTASKS": "1000", "SLURM_PROCID": "0"}

    problem = only(
        limits.open_files(well(tmp_path, environment, open_files_hard_limit=most))
    )

    assert "may open 1024 files, but 1000 processes need about 1064" in problem.text
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("room", "text"),
    [
        (None, "there is no /dev/shm"),
        (DiskSpace(GIB, GIB, None, False), "/dev/shm cannot be written"),
        (
            DiskSpace(64 * MIB, 64 * MIB, 99, True),
            "/dev/shm has 64 MiB, 1 GiB is recommended",
        ),
        (DiskSpace(8 * GIB, 5 * MIB, 99, True), "/dev/shm is full: 5 MiB left"),
    ],
)
def test_too_little_shared_memory_is_a_warning_with_its_size(tmp_path, room, text):
    problem = only(limits.shared_memory(well(tmp_path, disk_space=lambda folder: room)))

    assert ("dev-shm-too-small", False, text) == (
        problem.kind,
        problem.is_fatal,
        problem.text,
    )


def test_one_gib_of_shared_memory_is_enough(tmp_path):
    room = DiskSpace(GIB, GIB, None, True)

    assert [] == list(
        limits.shared_memory(well(tmp_path, disk_space=lambda folder: room))
    )


@pytest.mark.parametrize(
    ("has_rdma", "limit", "expected"),
    [
        (True, 8 * MIB, [("locked-memory-limit", False)]),
        (True, math.inf, []),
        (True, 64 * MIB, []),
        (False, 8 * MIB, []),
    ],
)
def test_locked_memory_matters_where_there_is_rdma(tmp_path, has_rdma, limit, expected):
    if has_rdma:
        put(tmp_path, "/sys/class/infiniband/mlx5_0/node_type")

    node = well(tmp_path, locked_bytes=limit)

    assert expected == kinds(limits.locked_memory(node))


@pytest.mark.parametrize(
    ("room", "text"),
    [
        (DiskSpace(GIB, MIB, None, True), "/scratch is full: 1 MiB left"),
        (DiskSpace(GIB, GIB, 3, True), "3 inodes left"),
        (None, "the directory for temporary files '/scratch' does not exist"),
    ],
)
def test_a_full_folder_for_temporary_files_is_a_warning(tmp_path, room, text):
    rooms = {"/scratch": room}
    node = well(tmp_path, {"TMPDIR": "/scratch"}, disk_space=rooms.__getitem__)

    problem = only(limits.temporary_space(node))

    assert ("disk-full", False) == (problem.kind, problem.is_fatal)
    assert text in problem.text


def test_without_a_variable_temporary_files_go_to_tmp(tmp_path):
    asked = []
    node = well(tmp_path, {}, disk_space=lambda folder: asked.append(folder) or PLENTY)

    assert [] == list(limits.temporary_space(node))
    assert ["/tmp"] == asked
