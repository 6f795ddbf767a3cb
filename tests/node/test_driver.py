"""The NVIDIA driver against the image's CUDA, by the files of made-up nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from nodes import STEP, gpus, image, kinds, only, put, well

from jaxsif.node.driver import driver, driver_version


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


def test_an_old_driver_is_named_with_what_the_image_needs(tmp_path):
    image(tmp_path, "cuda13")
    gpus(tmp_path, driver="550.54.15")

    problem = only(driver(well(tmp_path)))

    assert problem.text == (
        "the node's driver is 550.54.15; this image's CUDA 12.9.79 needs 580.65.06 or"
        " newer"
    )
    assert "use the cuda12 image" in problem.remedy


def test_with_nvidias_compatibility_libraries_an_old_driver_may_do(tmp_path):
    image(tmp_path, "cuda13")
    gpus(tmp_path, driver="550.54.15")
    node = well(tmp_path, {**STEP, "LD_LIBRARY_PATH": "/usr/local/cuda-13/compat"})

    assert [("gpu-driver", False)] == kinds(driver(node))


def test_a_forgotten_nv_is_named(tmp_path):
    image(tmp_path)
    gpus(tmp_path)
    (tmp_path / ".singularity.d/libs/libcuda.so.1").unlink()

    problem = only(driver(well(tmp_path)))

    assert "no libcuda.so.1" in problem.text
    assert "--nv" in problem.remedy


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
