"""The GPUs a task sees against those it was given and those that were asked for."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from nodes import STEP, gpus, image, kinds, only, well

from jaxsif.node.visibility import visibility, visible_gpus


@pytest.fixture(params=["gpus", "stand-ins"])
def node(tmp_path, request):
    """A task on a GPU node, and the same where CPU devices stand in for GPUs."""
    if request.param == "gpus":
        image(tmp_path)
        gpus(tmp_path)
        return lambda **changes: well(tmp_path, changed({}, changes))
    image(tmp_path, "cpu")
    fixed = {"JAX_SIF_PLATFORM": "cpu", "JAX_PLATFORMS": "cpu"}
    return lambda **changes: well(tmp_path, changed(fixed, changes))


def changed(fixed: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    variables = {**STEP, **fixed, **changes}
    return {name: value for name, value in variables.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"CUDA_VISIBLE_DEVICES": "GPU-12ab,GPU-34cd,GPU-56ef,GPU-78ab"},
        {"CUDA_VISIBLE_DEVICES": "0", "JAX_LOCAL_DEVICE_IDS": "0"},
        {
            "CUDA_VISIBLE_DEVICES": "1",
            "JAX_LOCAL_DEVICE_IDS": "0",
            "SLURM_GPUS_PER_TASK": "1",
        },
        {"SLURM_GPUS_PER_TASK": "gpu:a100:4"},
        {"SLURM_GPUS_PER_TASK": "a100:1"},
        {"JAX_SIF_TOPOLOGY": "G8N2p2", "JAX_LOCAL_DEVICE_IDS": "0,1,2,3"},
        {"JAX_SIF_TOPOLOGY": "of a new kind"},
        {"CUDA_VISIBLE_DEVICES": "0,1", "JAX_LOCAL_DEVICE_IDS": "1"},
        {"CUDA_VISIBLE_DEVICES": "0,1,2,3,"},
    ],
)
def test_a_task_that_sees_what_it_needs_has_no_trouble(node, changes):
    assert [] == list(visibility(node(**changes)))


@pytest.mark.parametrize(
    ("changes", "fatal", "said"),
    [
        ({"CUDA_VISIBLE_DEVICES": ""}, True, "CUDA_VISIBLE_DEVICES='' hides every GPU"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, True, "'-1' hides every GPU"),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, True, "hides every GPU"),
        ({"CUDA_VISIBLE_DEVICES": "-1,0,1"}, True, "hides every GPU"),
        ({"CUDA_VISIBLE_DEVICES": "0,1,1,2"}, True, "names GPU 1 more than once"),
        (
            {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_GPUS": "2,3"},
            False,
            "names 4 GPUs, Slurm assigned 2 on this node (2,3)",
        ),
        (
            {
                "CUDA_VISIBLE_DEVICES": "0",
                "JAX_LOCAL_DEVICE_IDS": "0",
                "JAX_SIF_TOPOLOGY": "G4N2p2",
            },
            True,
            "sees 1 GPU (CUDA_VISIBLE_DEVICES=0), G4N2p2 requires 2 in each process",
        ),
        (
            {
                "CUDA_VISIBLE_DEVICES": "0,-1,2",
                "JAX_LOCAL_DEVICE_IDS": "0",
                "SLURM_GPUS_PER_TASK": "gpu:2",
            },
            True,
            "sees 1 GPU (CUDA_VISIBLE_DEVICES=0,-1,2), --gpus-per-task requests 2",
        ),
        (
            {"CUDA_VISIBLE_DEVICES": "2", "JAX_LOCAL_DEVICE_IDS": "1"},
            True,
            "there is no GPU number 1; JAX_LOCAL_DEVICE_IDS=1",
        ),
        ({"JAX_LOCAL_DEVICE_IDS": "3,4,5"}, True, "there is no GPU number 4, 5"),
    ],
)
def test_each_way_to_see_the_wrong_gpus_is_named(node, changes, fatal, said):
    problem = only(visibility(node(**changes)))

    assert ("gpu-visibility", fatal) == (problem.kind, problem.is_fatal)
    assert said in problem.text


def test_jax_alone_takes_the_local_rank_for_an_ordinal(tmp_path):
    image(tmp_path)
    gpus(tmp_path)
    bound = {"CUDA_VISIBLE_DEVICES": "1", "JAX_LOCAL_DEVICE_IDS": None}

    problem = only(visibility(well(tmp_path, changed({}, bound))))

    assert "there is no GPU number 1; JAX uses this task's local rank" in problem.text
    assert "singularity run" in problem.remedy


def test_without_the_variable_the_nodes_gpus_are_counted(tmp_path):
    image(tmp_path)
    gpus(tmp_path, count=2)
    asked = {"CUDA_VISIBLE_DEVICES": None, "JAX_SIF_TOPOLOGY": "G8N2p2"}

    problem = only(visibility(well(tmp_path, changed({}, asked))))

    assert "sees 2 GPUs (CUDA_VISIBLE_DEVICES is not set)" in problem.text


def test_without_the_variable_and_without_a_driver_the_driver_is_the_cause(tmp_path):
    image(tmp_path)

    assert [] == list(
        visibility(well(tmp_path, changed({}, {"CUDA_VISIBLE_DEVICES": None})))
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"CUDA_VISIBLE_DEVICES": None, "SLURM_STEP_GPUS": None},
        {"CUDA_VISIBLE_DEVICES": "", "SLURM_STEP_GPUS": None},
        # As many as were asked for, whatever they stand for.
        {
            "CUDA_VISIBLE_DEVICES": "0",
            "JAX_LOCAL_DEVICE_IDS": "0",
            "JAX_SIF_TOPOLOGY": "G8N2p2",
            "JAX_NUM_CPU_DEVICES": "4",
        },
    ],
)
def test_a_cluster_of_cpus_need_not_speak_of_gpus(tmp_path, changes):
    image(tmp_path, "cpu")
    fixed = {"JAX_SIF_PLATFORM": "cpu", "JAX_PLATFORMS": "cpu"}

    assert [] == list(visibility(well(tmp_path, changed(fixed, changes))))


def test_who_chose_the_cpu_may_hide_every_gpu(tmp_path):
    image(tmp_path)
    gpus(tmp_path)
    chosen = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}

    assert [] == kinds(visibility(well(tmp_path, changed({}, chosen))))


@pytest.mark.parametrize(
    ("listed", "count"),
    [("0,1,2", 3), ("0,2,-1,1", 2), ("", 0), ("NoDevFiles", 0), ("0,", 1), (None, 4)],
)
def test_gpus_are_counted_as_cuda_does_it(tmp_path, listed, count):
    gpus(tmp_path)
    environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}

    assert count == visible_gpus(well(tmp_path, environment))
