"""Which GPUs each task hands to JAX, for every way of asking Slurm for them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess

import pytest
from checkout import ROOT

SCRIPT = ROOT / "src/jaxsif/start/local_devices.sh"


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


def node(tasks: int, *visible: str, **environment: str) -> list[str]:
    """The ids of every task on a node; `visible` is what each sees, or what all see."""
    seen = visible * tasks if len(visible) == 1 else visible
    return [
        ids(
            CUDA_VISIBLE_DEVICES=seen[local_rank],
            SLURM_STEP_TASKS_PER_NODE=f"{tasks}(x2)",
            SLURM_GPUS_ON_NODE="4",
            SLURM_LOCALID=str(local_rank),
            SLURM_NODEID="1",
            **environment,
        )
        for local_rank in range(tasks)
    ]


@pytest.mark.parametrize(
    ("tasks", "visible", "expected"),
    [
        (4, "0,1,2,3", ["0", "1", "2", "3"]),
        (2, "0,1,2,3", ["0,1", "2,3"]),
        (1, "0,1,2,3", ["0,1,2,3"]),
        (3, "0,1,2,3", ["0", "1", "2"]),
        (2, "0,1", ["0", "1"]),
        (1, "3", ["0"]),
        (2, "GPU-a,GPU-b", ["0", "1"]),
    ],
)
def test_tasks_that_see_all_gpus_of_the_step_share_them(tasks, visible, expected):
    assert expected == node(tasks, visible)


# What Slurm 26.05 was seen to set with --gpus-per-task=2 and 1, --tres-per-task,
# --gpu-bind=single:1 and map_gpu.
@pytest.mark.parametrize(
    ("bind", "visible", "expected"),
    [
        ("gres/gpu:per_task:2", ["0,1", "2,3"], ["0,1", "0,1"]),
        ("gres/gpu:per_task:1", ["0", "1"], ["0", "0"]),
        ("gres/gpu:single:1", ["0", "1"], ["0", "0"]),
        ("gres/gpu:map:0,3", ["0", "3"], ["0", "0"]),
        ("gres/gpu:mask:0x3,0xc", ["0,1", "2,3"], ["0,1", "0,1"]),
        ("gres/gpu:none", ["0,1,2,3", "0,1,2,3"], ["0,1", "2,3"]),
    ],
)
def test_bound_tasks_take_all_that_they_see(bind, visible, expected):
    assert expected == node(2, *visible, SLURM_TRES_BIND=bind)


def test_without_slurms_binding_gpus_per_task_implies_one():
    assert ["0", "0"] == node(2, "0", "1", SLURM_GPUS_PER_TASK="1")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (["0,1", "0,1", "2,3", "2,3"], ["0", "1", "0", "1"]),
        (["0,1,2,3"] * 4, ["0", "1", "2", "3"]),
    ],
)
def test_tasks_close_to_the_same_gpus_share_those(visible, expected):
    assert expected == node(4, *visible, SLURM_TRES_BIND="gres/gpu:closest")


def test_one_task_for_each_group_of_close_gpus_has_them_all():
    visible = ["0,1", "2,3"]

    assert ["0,1", "0,1"] == node(2, *visible, SLURM_TRES_BIND="gres/gpu:closest")


def test_more_tasks_than_gpus_share_the_gpus_there_are():
    assert ["0", "1", "0", "1"] == node(4, "0,1")


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
