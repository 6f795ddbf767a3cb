"""What of the host's would take the place of the image's packages, and which variable lets it in."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from nodes import PACKAGES, image, kinds, only, put, well

from jaxsif.node.software import host_packages

LOCAL = "/home/me/.local/lib/python3.13/site-packages"


@pytest.fixture
def tree(tmp_path):
    image(tmp_path)
    return tmp_path


def test_the_images_own_packages_are_no_trouble(tree):
    put(tree, f"{LOCAL}/rich/__init__.py")
    put(tree, "/home/me/work/numpy/notes.txt")
    node = well(tree, {}, search_path=("/home/me/work", LOCAL, PACKAGES))

    assert [] == list(host_packages(node))


@pytest.mark.parametrize(
    ("place", "environment", "cause"),
    [
        (LOCAL, {}, "~/.local is searched, because PYTHONNOUSERSITE is not set"),
        (LOCAL, {"PYTHONPATH": f"/x:{LOCAL}/"}, "PYTHONPATH names it"),
        (
            "/home/me/conda/lib/python3.13/site-packages",
            {"CONDA_PREFIX": "/home/me/conda"},
            "conda's environment /home/me/conda is active",
        ),
        ("/usr/lib/python3", {}, "the Python that runs is /usr's"),
        ("/home/me/work", {}, "it comes first in sys.path"),
    ],
)
def test_a_package_of_the_hosts_is_named_with_what_lets_it_in(
    tree, place, environment, cause
):
    put(tree, f"{place}/numpy/__init__.py")
    node = well(tree, environment, search_path=(place, PACKAGES), python="/usr")

    problem = only(host_packages(node))

    assert ("host-packages-visible", False) == (problem.kind, problem.is_fatal)
    assert problem.text == (
        f"numpy would be imported from {place} instead of the image's {PACKAGES}: {cause}"
    )


@pytest.mark.parametrize("package", ["jax", "jaxlib"])
def test_another_jax_is_fatal(tree, package):
    put(tree, f"{LOCAL}/{package}/__init__.py")
    node = well(tree, {}, search_path=(LOCAL, PACKAGES))

    assert [("host-packages-visible", True)] == kinds(host_packages(node))


def test_packages_from_one_folder_are_named_together(tree):
    for package in ("jax", "jaxlib", "numpy"):
        put(tree, f"{LOCAL}/{package}/__init__.py")
    put(tree, "/home/me/work/scipy.py")
    node = well(tree, {}, search_path=("/home/me/work", LOCAL, PACKAGES))

    texts = [problem.text for problem in host_packages(node)]

    assert 2 == len(texts)
    assert f"jax, jaxlib, numpy would be imported from {LOCAL} instead" in texts[0]


def test_a_file_beside_the_program_shadows_a_package(tree):
    put(tree, "/home/me/work/scipy.py")
    node = well(tree, {}, search_path=("/home/me/work", PACKAGES))

    assert (
        "scipy would be imported from /home/me/work instead"
        in only(host_packages(node)).text
    )


def test_outside_the_image_nothing_is_said(tmp_path):
    put(tmp_path, f"{LOCAL}/jax/__init__.py")

    assert [] == list(host_packages(well(tmp_path, {}, search_path=(LOCAL,))))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PATH": "/opt/jax/bin:/home/me/conda/bin"}, []),
        ({"PATH": "/no/such/folder::/opt/jax/bin/"}, []),
        (
            {"PATH": "/home/me/conda/bin:/opt/jax/bin"},
            [("host-packages-visible", False)],
        ),
        (
            {
                "PATH": "/home/me/conda/bin:/opt/jax/bin",
                "VIRTUAL_ENV": "/home/me/conda",
            },
            [],
        ),
        ({}, []),
    ],
)
def test_another_python_that_is_first_on_path_is_named(tree, environment, expected):
    put(tree, "/home/me/conda/bin/python")

    assert expected == kinds(host_packages(well(tree, environment)))


@pytest.mark.parametrize(
    "library",
    ["libnccl.so.2", "libcudnn_ops.so.9", "libcublasLt.so.12", "libcudart.so.12.4.1"],
)
def test_libraries_of_another_cuda_are_named(tree, library):
    put(tree, f"/usr/local/cuda-12.4/lib64/{library}")
    environment = {
        "LD_LIBRARY_PATH": ".:/.singularity.d/libs:/usr/local/cuda-12.4/lib64"
    }

    problem = only(host_packages(well(tree, environment)))

    assert ("host-packages-visible", False) == (problem.kind, problem.is_fatal)
    assert f"/usr/local/cuda-12.4/lib64/{library} may be loaded" in problem.text


@pytest.mark.parametrize(
    "folder",
    ["/.singularity.d/libs", "/usr/local/nvidia/lib64", "/opt/jax/lib", "/other"],
)
def test_libraries_of_the_driver_and_of_the_image_are_no_trouble(tree, folder):
    put(tree, f"{folder}/libnvidia-ml.so.1")
    if folder != "/other":
        put(tree, f"{folder}/libnccl.so.2")

    assert [] == list(host_packages(well(tree, {"LD_LIBRARY_PATH": folder})))


@pytest.mark.parametrize(
    ("preloaded", "expected"),
    [
        ("/usr/lib/libxalt_init.so", []),
        (
            "/x/libxalt_init.so:/opt/nccl/libnccl.so.2",
            [("host-packages-visible", False)],
        ),
        ("/opt/nccl/libnccl.so", [("host-packages-visible", False)]),
    ],
)
def test_a_preloaded_library_of_cuda_is_named(tree, preloaded, expected):
    assert expected == kinds(host_packages(well(tree, {"LD_PRELOAD": preloaded})))


def test_an_image_for_the_cpu_loads_no_cuda(tmp_path):
    image(tmp_path, "cpu")
    put(tmp_path, "/cuda/libnccl.so.2")

    assert [] == list(host_packages(well(tmp_path, {"LD_LIBRARY_PATH": "/cuda"})))
