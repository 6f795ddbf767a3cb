"""The driver and the visible GPUs, on simulated nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from fake_nodes import STEP, described, gpus, image, kinds, only, put, well

from jaxsif.node.gpu_visibility import driver, driver_version, visibility, visible_gpus


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


WRONG = [
    ({"CUDA_VISIBLE_DEVICES": ""}, True),
    ({"CUDA_VISIBLE_DEVICES": "-1"}, True),
    ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, True),
    ({"CUDA_VISIBLE_DEVICES": "-1,0,1"}, True),
    ({"CUDA_VISIBLE_DEVICES": "0,1,1,2"}, True),
    ({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_GPUS": "2,3"}, False),
    (
        {
            "CUDA_VISIBLE_DEVICES": "0",
            "JAX_LOCAL_DEVICE_IDS": "0",
            "JAX_SIF_TOPOLOGY": "G4N2p2",
        },
        True,
    ),
    (
        {
            "CUDA_VISIBLE_DEVICES": "0,-1,2",
            "JAX_LOCAL_DEVICE_IDS": "0",
            "SLURM_GPUS_PER_TASK": "gpu:2",
        },
        True,
    ),
    ({"CUDA_VISIBLE_DEVICES": "2", "JAX_LOCAL_DEVICE_IDS": "1"}, True),
    ({"JAX_LOCAL_DEVICE_IDS": "3,4,5"}, True),
]


@pytest.mark.parametrize(("changes", "fatal"), WRONG)
def test_each_way_to_see_the_wrong_gpus_is_named(node, changes, fatal):
    assert [("gpu-visibility", fatal)] == kinds(visibility(node(**changes)))


# JAX alone takes the local rank as the number of its GPU.
NO_IDS = {"CUDA_VISIBLE_DEVICES": "1", "JAX_LOCAL_DEVICE_IDS": None}
# The node's GPUs are counted, of which there are two.
NO_LIST = {"CUDA_VISIBLE_DEVICES": None, "JAX_SIF_TOPOLOGY": "G8N2p2"}


@pytest.mark.parametrize("changes", [NO_IDS, NO_LIST])
def test_a_missing_variable_is_no_excuse(tmp_path, changes):
    image(tmp_path)
    gpus(tmp_path, count=2)

    found = visibility(well(tmp_path, changed({}, changes)))

    assert [("gpu-visibility", True)] == kinds(found)


def test_wording(tmp_path, golden):
    image(tmp_path, "cuda13")
    gpus(tmp_path, count=2)
    cases = [changes for changes, _ in WRONG] + [NO_IDS, NO_LIST]
    found = [only(visibility(well(tmp_path, changed({}, c)))) for c in cases]
    # An old driver, and no library of it.
    (tmp_path / ".singularity.d/libs/libcuda.so.1").unlink()
    found += driver(well(tmp_path))

    golden("gpu-visibility", described(found))


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


@pytest.mark.parametrize(
    ("file", "content", "version"),
    [
        (
            "/proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19"
            " 01:15:15 UTC 2023\nGCC version:  gcc version 12.2.0\n",
            "535.104.05",
        ),
        (
            "/proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06"
            "  Release Build  (dvs-builder)\n",
            "580.65.06",
        ),
        (
            "/proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  570.86.15\n",
            "570.86.15",
        ),
        ("/sys/module/nvidia/version", "550.54.15\n", "550.54.15"),
        ("/sys/module/nvidia/version", "odd\n", None),
    ],
)
def test_the_drivers_version_is_read(tmp_path, file, content, version):
    put(tmp_path, file, content)

    assert version == driver_version(well(tmp_path))


@pytest.mark.parametrize(
    ("accelerator", "version", "expected"),
    [
        ("cuda12", "525.60.13", []),
        ("cuda12", "525.60.11", [("gpu-driver", True)]),
        ("cuda12", "580.65.06", []),
        ("cuda13", "580.65.06", []),
        ("cuda13", "580.65.05", [("gpu-driver", True)]),
        ("cuda13", "575.57.08", [("gpu-driver", True)]),
        ("cpu", "450.80.02", []),
    ],
)
def test_a_driver_must_be_new_enough(tmp_path, accelerator, version, expected):
    image(tmp_path, accelerator)
    gpus(tmp_path, driver=version)

    assert expected == kinds(driver(well(tmp_path)))


def test_with_nvidias_compatibility_libraries_an_old_driver_may_do(tmp_path):
    image(tmp_path, "cuda13")
    gpus(tmp_path, driver="550.54.15")
    node = well(tmp_path, {**STEP, "LD_LIBRARY_PATH": "/usr/local/cuda-13/compat"})

    assert [("gpu-driver", False)] == kinds(driver(node))


def test_a_forgotten_nv_is_named(tmp_path):
    image(tmp_path)
    gpus(tmp_path)
    (tmp_path / ".singularity.d/libs/libcuda.so.1").unlink()

    assert [("gpu-driver", True)] == kinds(driver(well(tmp_path)))


@pytest.mark.parametrize(
    "library",
    [
        "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
        "/usr/lib64/libcuda.so.1",
        "/x/libcuda.so.1",
    ],
)
def test_the_drivers_library_may_lie_elsewhere(tmp_path, library):
    image(tmp_path)
    gpus(tmp_path)
    (tmp_path / ".singularity.d/libs/libcuda.so.1").unlink()
    put(tmp_path, library)

    assert [] == list(driver(well(tmp_path, {**STEP, "LD_LIBRARY_PATH": ":/x"})))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (STEP, [("gpu-driver", True)]),
        ({"JAX_SIF_TOPOLOGY": "G4N1p4"}, [("gpu-driver", True)]),
        ({"SLURM_JOB_GPUS": "0"}, [("gpu-driver", True)]),
        ({}, []),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ({**STEP, "JAX_PLATFORMS": "cpu"}, []),
        ({**STEP, "JAX_PLATFORMS": "cuda,cpu"}, [("gpu-driver", True)]),
        ({"JAX_SIF_TOPOLOGY": "G4N1p4", "JAX_SIF_PLATFORM": "cpu"}, []),
        ({"JAX_SIF_TOPOLOGY": "four"}, []),
    ],
)
def test_a_node_without_a_driver_is_wrong_where_gpus_were_asked_for(
    tmp_path, environment, expected
):
    image(tmp_path)

    assert expected == kinds(driver(well(tmp_path, environment)))


def test_under_wsl_there_is_another_device(tmp_path):
    image(tmp_path)
    put(tmp_path, "/dev/dxg")

    assert [] == list(driver(well(tmp_path)))
