"""MPI between CPUs: the wrapper that jaxlib needs, and the launcher's PMI."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from fake_nodes import STEP, described, only, well
from shared_library import shared_library

from jaxsif.node import mpi, start_problems

MPI = {"JAX_CPU_COLLECTIVES_IMPLEMENTATION": "mpi", "JAX_PLATFORMS": "cpu"}
# What `srun --mpi=pmix` adds to the step's variables.
RANK = {**STEP, **MPI, "PMIX_RANK": "5"}

RIGHT = {"mpiwrapper_version_major": 2, "mpiabi_version_major": 2}
VERSION_9 = {**RIGHT, "mpiabi_version_minor": 9}


@pytest.fixture
def library(tmp_path):
    """Makes a library of a node with whole numbers in it, as MPIwrapper has them."""

    def make(name: str, numbers: dict[str, int]) -> None:
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shared_library(numbers))

    return make


def test_without_mpi_nothing_is_reported(tmp_path):
    assert [] == list(mpi.mpi_collectives(well(tmp_path)))
    assert {} == mpi.jaxlib_variables(well(tmp_path))


def test_without_a_wrapper_every_searched_directory_is_named(tmp_path, golden):
    (tmp_path / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    environment = {
        **RANK,
        "LD_LIBRARY_PATH": "/site/mpi/lib:",
        "EBROOTMPIWRAPPER": "/eb/mpiwrapper",
        "HOME": "/home/ada",
    }

    problem = only(mpi.mpi_collectives(well(tmp_path, environment)))

    assert ("mpi-collectives", True) == (problem.kind, problem.is_fatal)
    golden("mpi-searched", described([problem]))


@pytest.mark.parametrize(
    ("folder", "environment"),
    [
        ("/site/lib", {"LD_LIBRARY_PATH": "/nowhere:/site/lib"}),
        ("/eb/MPIwrapper/lib64", {"EBROOTMPIWRAPPER": "/eb/MPIwrapper"}),
        ("/home/ada/mpiwrapper/lib", {"HOME": "/home/ada"}),
        ("/opt/mpiwrapper/lib", {}),
        ("/usr/local/lib64", {}),
        ("/usr/lib/aarch64-linux-gnu", {}),
    ],
)
def test_a_wrapper_in_a_standard_directory_is_passed_to_jaxlib(
    tmp_path, library, folder, environment
):
    library(f"{folder}/libmpiwrapper.so", VERSION_9)
    node = well(tmp_path, {**RANK, **environment})

    assert {"MPITRAMPOLINE_LIB": f"{folder}/libmpiwrapper.so"} == (
        mpi.jaxlib_variables(node)
    )
    assert [] == list(mpi.mpi_collectives(node))


def test_the_users_own_choice_comes_first_and_stays(tmp_path, library):
    library("/usr/local/lib/libmpiwrapper.so", VERSION_9)
    node = well(tmp_path, {**RANK, "MPITRAMPOLINE_LIB": "/mine/w.so"})

    assert {} == mpi.jaxlib_variables(node)
    assert "'/mine/w.so'" in only(mpi.mpi_collectives(node)).text


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ({}, "MPIwrapper"),
        (RIGHT, "MPIwrapper"),
        ({**RIGHT, "mpiabi_version_minor": 8}, "ABI 2.8"),
        ({**VERSION_9, "mpiabi_version_major": 3}, "ABI 3.9"),
    ],
)
def test_a_library_that_jaxlib_would_refuse_is_named(
    tmp_path, library, numbers, complaint
):
    library("/w.so", numbers)
    node = well(tmp_path, {**RANK, "MPITRAMPOLINE_LIB": "/w.so"})

    assert complaint in only(mpi.mpi_collectives(node)).text


def test_a_newer_minor_version_of_the_abi_will_do(tmp_path, library):
    library("/w.so", {**RIGHT, "mpiabi_version_minor": 11})
    node = well(tmp_path, {**RANK, "MPITRAMPOLINE_LIB": "/w.so"})

    assert [] == list(mpi.mpi_collectives(node))


def test_a_file_that_is_no_library_is_named_with_the_loaders_reason(tmp_path):
    (tmp_path / "w.so").write_text("not a library")
    node = well(tmp_path, {**RANK, "MPITRAMPOLINE_LIB": "/w.so"})

    assert "cannot be loaded (" in only(mpi.mpi_collectives(node)).text


def test_ranks_that_mpi_does_not_know_would_each_be_a_world(tmp_path, library, golden):
    library("/w.so", VERSION_9)
    node = well(tmp_path, {**STEP, **MPI, "MPITRAMPOLINE_LIB": "/w.so"})

    problem = only(mpi.mpi_collectives(node))

    assert ("mpi-collectives", True) == (problem.kind, problem.is_fatal)
    golden("mpi-worlds", described([problem]))


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NTASKS": "1"},
        {"PMI_RANK": "0"},
        {"OMPI_COMM_WORLD_RANK": "0"},
        {"I_MPI_PMI_LIBRARY": "/usr/lib64/libpmi2.so"},
    ],
)
def test_a_single_rank_and_those_that_mpi_knows_are_well(
    tmp_path, library, environment
):
    library("/w.so", VERSION_9)
    node = well(tmp_path, {**STEP, **MPI, "MPITRAMPOLINE_LIB": "/w.so", **environment})

    assert [] == list(mpi.mpi_collectives(node))


def test_it_is_one_of_the_checks_before_the_start(tmp_path):
    found = start_problems(well(tmp_path, {**STEP, **MPI}), "node1")

    assert ["mpi-collectives"] * 2 == [problem.kind for problem in found]
