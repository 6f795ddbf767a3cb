"""Whether JAX can use MPI between CPUs, if it is told to; runs in each rank, before JAX ends the process over it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jaxsif.core.problem import Problem
from jaxsif.core.slurm_env import PROCESSES
from jaxsif.node.host import number
from jaxsif.node.host_info import HostInfo

# JAX's choice between gloo, its default, and mpi.
CHOICE_VARIABLE = "JAX_CPU_COLLECTIVES_IMPLEMENTATION"
# jaxlib calls MPI through MPItrampoline, which is linked into it and loads a site's MPI
# by a library that was built for it: MPIwrapper (github.com/eschnett/MPIwrapper).
WRAPPER_VARIABLE = "MPITRAMPOLINE_LIB"
WRAPPER = "libmpiwrapper.so"
# Where it is looked for when the variable is not set, behind LD_LIBRARY_PATH: EasyBuild's
# and the home's installation, CMake's default, a distribution's.
_ROOT_VARIABLES = (("EBROOTMPIWRAPPER", ""), ("HOME", "/mpiwrapper"))
_FOLDERS = (
    "/opt/mpiwrapper/lib",
    "/opt/mpiwrapper/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib64",
    "/usr/lib",
)
# What jaxlib 0.10.2 and 0.12.0.1 ask for; a newer minor version will do.
ABI = (2, 9)
_ABI_SYMBOLS = ("mpiabi_version_major", "mpiabi_version_minor")
_WRAPPER_SYMBOL = "mpiwrapper_version_major"
# By which a process knows that MPI's launcher started it. The last stands for Slurm's PMI
# library, which speaks to srun without variables.
_MPI_SIGNS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "I_MPI_PMI_LIBRARY")


def is_chosen(environment: Mapping[str, str]) -> bool:
    """Whether JAX is told to use MPI between CPUs."""
    return environment.get(CHOICE_VARIABLE) == "mpi"


def find_wrapper(host_info: HostInfo) -> str | None:
    """The library that jaxlib has to load: the user's choice, or in a standard place."""
    chosen = host_info.environment.get(WRAPPER_VARIABLE)
    if chosen is not None:
        return chosen
    candidates = (f"{folder}/{WRAPPER}" for folder in _folders(host_info))
    return next(filter(host_info.has, candidates), None)


def for_jaxlib(host_info: HostInfo) -> dict[str, str]:
    """What jaxlib has to find in its environment, and does not yet."""
    is_told = WRAPPER_VARIABLE in host_info.environment
    if is_told or not is_chosen(host_info.environment):
        return {}
    wrapper = find_wrapper(host_info)
    return {WRAPPER_VARIABLE: wrapper} if wrapper else {}


def _folders(host_info: HostInfo) -> Iterator[str]:
    listed = host_info.variable("LD_LIBRARY_PATH").split(":")
    yield from (folder for folder in listed if folder.startswith("/"))
    for variable, below in _ROOT_VARIABLES:
        root = host_info.variable(variable)
        if root:
            yield f"{root}{below}/lib"
            yield f"{root}{below}/lib64"
    yield from _FOLDERS
    for name in host_info.names("/usr/lib"):
        if "-linux" in name:
            yield f"/usr/lib/{name}"


def mpi_collectives(host_info: HostInfo) -> Iterator[Problem]:
    """MPI was chosen: its wrapper, and a launcher that MPI can speak to."""
    if not is_chosen(host_info.environment):
        return
    wrapper = find_wrapper(host_info)
    if wrapper is None:
        yield _trouble(
            f"{CHOICE_VARIABLE}=mpi, but {WRAPPER_VARIABLE} is not set and there is no"
            f" {WRAPPER} in {', '.join(_folders(host_info))}"
        )
    else:
        complaint = _complaint(host_info, wrapper)
        if complaint:
            yield _trouble(f"{CHOICE_VARIABLE}=mpi, but {wrapper!r} {complaint}")
    yield from _no_launcher(host_info)


def _trouble(text: str) -> Problem:
    return Problem(
        "mpi-collectives",
        f"{text}; jaxlib would end the process",
        f"set {WRAPPER_VARIABLE} to a {WRAPPER} built for the site's MPI (bind both into"
        f" the container), or unset {CHOICE_VARIABLE}: gloo needs nothing",
    )


def _complaint(host_info: HostInfo, wrapper: str) -> str | None:
    """Why jaxlib will not take a library."""
    import ctypes

    if not wrapper.startswith("/"):
        path = wrapper
    elif host_info.has(wrapper):
        path = str(host_info.path(wrapper))
    else:
        return "does not exist"
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        return f"cannot be loaded ({error})"
    try:
        ctypes.c_int.in_dll(library, _WRAPPER_SYMBOL)
        major, minor = (ctypes.c_int.in_dll(library, s).value for s in _ABI_SYMBOLS)
    except ValueError:
        return "is no MPIwrapper: it does not tell its version"
    if major != ABI[0] or minor < ABI[1]:
        return f"has the ABI {major}.{minor}, and jaxlib needs {ABI[0]}.{ABI[1]}"
    return None


def _no_launcher(host_info: HostInfo) -> Iterator[Problem]:
    """Each process would be an MPI world of its own, and every sum wrong."""
    processes = number(host_info, PROCESSES) or 1
    if processes == 1 or any(map(host_info.variable, _MPI_SIGNS)):
        return
    yield Problem(
        "mpi-collectives",
        f"{CHOICE_VARIABLE}=mpi, but nothing that MPI knows started this process: each of"
        f" the {processes} would be a world of its own, and sums would be wrong",
        "start the ranks with srun --mpi=pmix or --mpi=pmi2 (srun --mpi=list shows which"
        f" there are) or with mpirun, or unset {CHOICE_VARIABLE}",
    )
