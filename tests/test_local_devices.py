"""Which GPUs each task hands to JAX, for every way of asking Slurm for them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "src/jaxsif/local_devices.sh"


def ids(**environment: str) -> str:
    """`local_device_ids` of a task with these variables."""
    return subprocess.run(
        [
            "sh",
            "-euc",
            f'. "{SCRIPT}"; jaxsif_local_device_ids; echo "$local_device_ids"',
        ],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def node(visible: str, tasks: str, step_gpus: str = "0,1,2,3") -> list[str]:
    """The ids of every task on node 0, all seeing the same GPUs."""
    return [
        ids(
            CUDA_VISIBLE_DEVICES=visible,
            SLURM_STEP_TASKS_PER_NODE=tasks,
            SLURM_STEP_GPUS=step_gpus,
            SLURM_LOCALID=str(local_rank),
            SLURM_NODEID="0",
        )
        for local_rank in range(int(tasks.split("(")[0]))
    ]


@pytest.mark.parametrize(
    ("visible", "tasks", "expected"),
    [
        ("0,1,2,3", "4", ["0", "1", "2", "3"]),
        ("0,1,2,3", "4(x2)", ["0", "1", "2", "3"]),
        ("0,1,2,3", "2", ["0,1", "2,3"]),
        ("0,1,2,3", "1(x2)", ["0,1,2,3"]),
        ("0,1,2,3", "3", ["0", "1", "2"]),
        ("0", "1", ["0"]),
        ("GPU-a,GPU-b", "2", ["0", "1"]),
    ],
)
def test_tasks_that_see_all_gpus_of_the_node_share_them(visible, tasks, expected):
    assert expected == node(visible, tasks, step_gpus=visible)


def test_bound_tasks_take_all_that_they_see():
    assert ["0"] * 4 == node("2", "4")
    assert ["0,1"] * 2 == node("2,3", "2")


def test_overlapping_binding_gives_each_task_one():
    assert ["0", "1", "0", "1"] == node("0,1", "4")


def test_more_tasks_than_gpus_share_the_gpus_there_are():
    assert ["0", "1", "0", "1"] == node("0,1", "4", step_gpus="0,1")


@pytest.mark.parametrize("visible", ["", "NoDevFiles", "-1"])
def test_no_gpu_gives_no_ids(visible):
    assert "" == ids(CUDA_VISIBLE_DEVICES=visible, SLURM_STEP_TASKS_PER_NODE="4")


def test_a_partly_allocated_node_counts_its_own_tasks():
    # 2 nodes with 4 tasks, a third with 1: Slurm writes 4(x2),1.
    common = {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_TASKS_PER_NODE": "4(x2),1"}

    assert "3" == ids(**common, SLURM_NODEID="1", SLURM_LOCALID="3")
    assert "0,1,2,3" == ids(**common, SLURM_NODEID="2", SLURM_LOCALID="0")


def test_without_slurm_one_program_has_all_gpus():
    assert "0,1" == ids(CUDA_VISIBLE_DEVICES="0,1")
