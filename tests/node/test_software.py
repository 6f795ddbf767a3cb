"""Checks of inherited libraries, XLA flags and proxies, on simulated nodes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from fake_nodes import PACKAGES, described, image, kinds, only, put, well

from jaxsif.node.software import host_packages, proxy, split_flags, xla_flags

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
        f"numpy would be imported from {place} instead of the image's {PACKAGES}:"
        f" {cause}"
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
    assert f"/usr/local/cuda-12.4/lib64/{library}" in problem.text


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


# Each row was tried with jaxlib 0.10.2, or follows from xla/parse_flags_from_env.cc.
@pytest.mark.parametrize(
    ("text", "names", "ignored"),
    [
        ("--a=1 --b", ["--a", "--b"], ""),
        ("  \t--a\n--b=2\r\n", ["--a", "--b"], ""),
        ("--a='x --y' --b", ["--a", "--b"], ""),
        ('--a="x \\" --y" --b', ["--a", "--b"], ""),
        ("--a='never closed --b", ["--a"], ""),
        ("--a=x,y;z --b", ["--a", "--b"], ""),
        ("--a junk --b", ["--a"], "junk --b"),
        ("--a='x'y --b", ["--a"], "y --b"),
        ("-a", ["-a"], ""),
        ("", [], ""),
    ],
)
def test_flags_are_split_as_xla_does_it(text, names, ignored):
    assert (names, ignored) == split_flags(text)


def test_known_flags_are_no_trouble(tmp_path):
    image(tmp_path)
    flags = "--xla_dump_to='/tmp/a b' --xla_gpu_autotune_level=0 --other_family=1"

    assert [] == list(xla_flags(well(tmp_path, {"XLA_FLAGS": flags})))


UNKNOWN_FLAGS = {
    "--xla_gpu_autotune_levl=0": "--xla_gpu_autotune_level",
    "--xal_dump_to=/x": "--xla_dump_to",
    "-xla_dump_to=/x": "--xla_dump_to",
    "--xla-dump-to=/x": "--xla_dump_to",
    "--xla_qqqqqqqqqqqqqq": "remove it",
}


@pytest.mark.parametrize(("flag", "remedy"), UNKNOWN_FLAGS.items())
def test_an_unknown_flag_is_named_with_the_nearest_known_one(tmp_path, flag, remedy):
    image(tmp_path)
    environment = {"XLA_FLAGS": f"--xla_dump_to=/x {flag}"}

    problem = only(xla_flags(well(tmp_path, environment)))

    assert ("xla-flags", True) == (problem.kind, problem.is_fatal)
    assert remedy in problem.remedy


def test_every_unknown_flag_is_named(tmp_path):
    image(tmp_path)
    node = well(tmp_path, {"XLA_FLAGS": "--xla_a --xla_dump_to=1 --xla_b"})

    assert [("xla-flags", True)] * 2 == kinds(xla_flags(node))


# XLA ignores everything from the second word on.
IGNORED_FLAGS = "--xla_dump_to=/x xla_gpu_autotune_level=0"


def test_what_xla_does_not_read_is_a_warning(tmp_path):
    image(tmp_path)

    found = xla_flags(well(tmp_path, {"XLA_FLAGS": IGNORED_FLAGS}))

    assert [("xla-flags", False)] == kinds(found)


def test_without_a_list_of_flags_nothing_is_said(tmp_path):
    assert [] == list(xla_flags(well(tmp_path, {"XLA_FLAGS": "--xla_nosuch"})))


def test_flags_may_stand_in_a_file(tmp_path):
    image(tmp_path)
    put(tmp_path, "/home/me/flags", "--xla_dump_to=/x\n--xla_nosuch=1\n")
    node = well(tmp_path, {"XLA_FLAGS": "/home/me/flags"})

    assert [("xla-flags", True)] == kinds(xla_flags(node))
    assert "--xla_nosuch" in only(xla_flags(node)).text


MISSING_FILES = ("/no/such/file", "xla_dump_to=/x", "  ")


@pytest.mark.parametrize("value", MISSING_FILES)
def test_a_file_that_is_not_there_is_fatal(tmp_path, value):
    found = xla_flags(well(tmp_path, {"XLA_FLAGS": value}))

    assert [("xla-flags", True)] == kinds(found)


def test_wording_of_flags(tmp_path, golden):
    image(tmp_path)
    values = [*UNKNOWN_FLAGS, IGNORED_FLAGS, *MISSING_FILES]
    nodes = [well(tmp_path, {"XLA_FLAGS": value}) for value in values]

    golden("xla-flags", described(p for node in nodes for p in xla_flags(node)))


HTTP = {"http_proxy": "http://proxy.site:3128"}


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        ({}, "node1"),
        (HTTP, None),
        ({"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1"}, "node1"),
        ({"all_proxy": "http://p:1"}, "node1"),
        ({**HTTP, "grpc_proxy": ""}, "node1"),
        ({"http_proxy": "https://p:1"}, "node1"),
        ({"http_proxy": "p:1"}, "node1"),
        ({**HTTP, "no_proxy": "node1"}, "node1"),
        ({**HTTP, "no_proxy": "localhost, NODE1"}, "node1"),
        ({**HTTP, "no_proxy": ".cluster"}, "node1.cluster"),
        ({**HTTP, "no_proxy": "10.0.0.0/8"}, "10.0.0.1"),
        ({**HTTP, "no_proxy": "10.0.0.1"}, "10.0.0.1"),
        ({**HTTP, "no_proxy": "fd00::/8"}, "[fd00::1]"),
        ({**HTTP, "no_proxy": "other", "no_grpc_proxy": "node1"}, "node1"),
        ({**HTTP, "no_proxy": "localhost, "}, "node1"),
    ],
)
def test_the_coordinator_is_reached_without_a_proxy(tmp_path, environment, host):
    assert [] == list(proxy(well(tmp_path, environment), host))


PROXIED = [
    (HTTP, "node1"),
    ({"https_proxy": "http://p:1", **HTTP}, "node1"),
    ({"grpc_proxy": "http://p:1", **HTTP}, "node1"),
    ({**HTTP, "no_proxy": "*"}, "node1"),
    ({**HTTP, "no_proxy": "*.cluster"}, "node1.cluster"),
    ({**HTTP, "NO_PROXY": "node1"}, "node1"),
    ({**HTTP, "no_proxy": "node10"}, "node1"),
    # A range does not match a name, although the name has an address there.
    ({**HTTP, "no_proxy": "10.0.0.0/8"}, "node1"),
    ({**HTTP, "no_proxy": "10.0.0.0/99"}, "10.0.0.1"),
    ({**HTTP, "no_proxy": "node1", "no_grpc_proxy": "x"}, "node1"),
    ({**HTTP, "no_proxy": ""}, "node1"),
]


@pytest.mark.parametrize(("environment", "host"), PROXIED)
def test_the_coordinator_would_be_asked_for_through_a_proxy(
    tmp_path, environment, host
):
    problem = only(proxy(well(tmp_path, environment), host))

    assert ("proxy", True) == (problem.kind, problem.is_fatal)
    assert f"no_grpc_proxy={host}" in problem.remedy


def test_wording_of_proxies(tmp_path, golden):
    found = [
        only(proxy(well(tmp_path, variables), host)) for variables, host in PROXIED
    ]

    golden("proxy", described(found))


def test_a_password_is_not_repeated(tmp_path):
    environment = {"http_proxy": "http://me:secret@proxy:3128/"}

    problem = only(proxy(well(tmp_path, environment), "node1"))

    assert "proxy:3128" in problem.text
    assert "secret" not in str(problem)
