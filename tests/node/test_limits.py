"""Checks of a node's name, limits and directories, on simulated nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
from fake_nodes import PLENTY, STEP, described, image, kinds, only, put, well

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
    assert "srun singularity run" in problem.remedy


def test_an_unresolvable_own_name_is_fatal(tmp_path):
    found = limits.hostname(well(tmp_path, resolve=lambda name: ()))

    assert [("hostname-unresolvable", True)] == kinds(found)


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
    ("most", "remedy"), [(1048576, "ulimit -n 4096"), (1024, "LimitNOFILE")]
)
def test_who_can_raise_the_number_of_open_files_is_said(tmp_path, most, remedy):
    image(tmp_path)
    environment = {**STEP, "SLURM_NTASKS": "1000", "SLURM_PROCID": "0"}

    problem = only(
        limits.open_files(well(tmp_path, environment, open_files_hard_limit=most))
    )

    assert "1064" in problem.text
    assert remedy in problem.remedy


LITTLE_SHARED_MEMORY = [
    None,
    DiskSpace(GIB, GIB, None, False),
    DiskSpace(64 * MIB, 64 * MIB, 99, True),
    DiskSpace(8 * GIB, 5 * MIB, 99, True),
]


@pytest.mark.parametrize("room", LITTLE_SHARED_MEMORY)
def test_too_little_shared_memory_is_a_warning(tmp_path, room):
    found = limits.shared_memory(well(tmp_path, disk_space=lambda folder: room))

    assert [("dev-shm-too-small", False)] == kinds(found)


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


FULL_DISKS = [DiskSpace(GIB, MIB, None, True), DiskSpace(GIB, GIB, 3, True), None]


@pytest.mark.parametrize("room", FULL_DISKS)
def test_a_full_folder_for_temporary_files_is_a_warning(tmp_path, room):
    rooms = {"/scratch": room}
    node = well(tmp_path, {"TMPDIR": "/scratch"}, disk_space=rooms.__getitem__)

    assert [("disk-full", False)] == kinds(limits.temporary_space(node))


def test_wording(tmp_path, golden):
    temporary = {"TMPDIR": "/scratch"}
    many = {**STEP, "SLURM_NTASKS": "1000", "SLURM_PROCID": "0"}
    image(tmp_path)
    found = [
        *limits.not_under_srun(well(tmp_path, ALLOCATION)),
        *limits.hostname(well(tmp_path, resolve=lambda name: ())),
        *limits.open_files(well(tmp_path, many, open_files_hard_limit=1024)),
    ]
    for room in LITTLE_SHARED_MEMORY:
        node = well(tmp_path, disk_space=lambda folder, room=room: room)
        found += limits.shared_memory(node)
    for room in FULL_DISKS:
        node = well(tmp_path, temporary, disk_space=lambda folder, room=room: room)
        found += limits.temporary_space(node)

    golden("limits", described(found))


def test_without_a_variable_temporary_files_go_to_tmp(tmp_path):
    asked = []
    node = well(tmp_path, {}, disk_space=lambda folder: asked.append(folder) or PLENTY)

    assert [] == list(limits.temporary_space(node))
    assert ["/tmp"] == asked
