"""Free memory of a simulated node, by its own memory and its control groups."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from fake_nodes import put, well

from jaxsif.node.host import free_memory_bytes

GIB = 2**30


@pytest.fixture
def node(tmp_path):
    put(tmp_path, "/proc/meminfo", "MemTotal: 999 kB\nMemAvailable:  8388608 kB\n")
    return tmp_path


def limit(root, group: str, most: object, used: int) -> None:
    put(root, f"/sys/fs/cgroup{group}/memory.max", f"{most}\n")
    put(root, f"/sys/fs/cgroup{group}/memory.current", f"{used}\n")


def test_a_node_has_what_the_kernel_calls_available(node):
    assert 8 * GIB == free_memory_bytes(well(node))


def test_without_the_kernels_files_the_memory_is_unknown(tmp_path):
    assert free_memory_bytes(well(tmp_path)) is None


def test_a_job_has_no_more_than_its_groups_allow(node):
    put(node, "/proc/self/cgroup", "0::/slurm/job_7/step_0\n")
    limit(node, "/slurm/job_7/step_0", "max", 1)
    limit(node, "/slurm/job_7", 4 * GIB, GIB)
    limit(node, "/slurm", 64 * GIB, GIB)

    assert 3 * GIB == free_memory_bytes(well(node))


def test_the_old_groups_are_read_too(node):
    put(node, "/proc/self/cgroup", "5:cpu:/x\n3:memory:/slurm/job_7\n")
    folder = "/sys/fs/cgroup/memory/slurm/job_7"
    put(node, f"{folder}/memory.limit_in_bytes", f"{2 * GIB}\n")
    put(node, f"{folder}/memory.usage_in_bytes", f"{GIB}\n")

    assert GIB == free_memory_bytes(well(node))


def test_a_group_that_is_full_leaves_nothing(node):
    put(node, "/proc/self/cgroup", "0::/job\n")
    limit(node, "/job", GIB, 2 * GIB)

    assert 0 == free_memory_bytes(well(node))
