"""Check that JAX can use MPI between CPUs, if that is requested."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jaxsif.core.errors import Problem
from jaxsif.core.slurm_env import PROCESSES
from jaxsif.node.host import HostInfo

# Selects gloo, JAX's default, or mpi.
COLLECTIVES_VARIABLE = "JAX_CPU_COLLECTIVES_IMPLEMENTATION"
# jaxlib calls MPI through MPItrampoline, which is linked into it and loads a site's MPI
# by a library that was built for it: MPIwrapper (github.com/eschnett/MPIwrapper).
WRAPPER_VARIABLE = "MPITRAMPOLINE_LIB"
WRAPPER = "libmpiwrapper.so"
# Search path if the variable is not set, after LD_LIBRARY_PATH: installations of
# EasyBuild and in the home directory, CMake's default, a distribution's.
_ROOT_VARIABLES = (("EBROOTMPIWRAPPER", ""), ("HOME", "/mpiwrapper"))
_DIRS = (
    "/opt/mpiwrapper/lib",
    "/opt/mpiwrapper/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib64",
    "/usr/lib",
)
# Required by jaxlib 0.10.2 and 0.12.0.1; a newer minor version works.
ABI = (2, 9)
_ABI_SYMBOLS = ("mpiabi_version_major", "mpiabi_version_minor")
_WRAPPER_SYMBOL = "mpiwrapper_version_major"
# Set if an MPI launcher started the process. The last means Slurm's PMI library, which
# uses no variables.
_MPI_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "I_MPI_PMI_LIBRARY")


def is_requested(environment: Mapping[str, str]) -> bool:
    """Whether MPI between CPUs is requested."""
    return environment.get(COLLECTIVES_VARIABLE) == "mpi"


def find_wrapper(host_info: HostInfo) -> str | None:
    """The library for jaxlib to load: the user's choice, or from a standard path."""
    configured = host_info.environment.get(WRAPPER_VARIABLE)
    if configured is not None:
        return configured
    candidates = (f"{directory}/{WRAPPER}" for directory in _library_dirs(host_info))
    return next(filter(host_info.has, candidates), None)


def jaxlib_variables(host_info: HostInfo) -> dict[str, str]:
    """The variable that jaxlib needs, if it is not set yet."""
    is_set = WRAPPER_VARIABLE in host_info.environment
    if is_set or not is_requested(host_info.environment):
        return {}
    wrapper = find_wrapper(host_info)
    return {WRAPPER_VARIABLE: wrapper} if wrapper else {}


def _library_dirs(host_info: HostInfo) -> Iterator[str]:
    listed = host_info.variable("LD_LIBRARY_PATH").split(":")
    yield from (directory for directory in listed if directory.startswith("/"))
    for variable, below in _ROOT_VARIABLES:
        root = host_info.variable(variable)
        if root:
            yield f"{root}{below}/lib"
            yield f"{root}{below}/lib64"
    yield from _DIRS
    for name in host_info.names("/usr/lib"):
        if "-linux" in name:
            yield f"/usr/lib/{name}"


def mpi_collectives(host_info: HostInfo) -> Iterator[Problem]:
    """If MPI is requested, check its wrapper and the launcher's PMI."""
    if not is_requested(host_info.environment):
        return
    wrapper = find_wrapper(host_info)
    if wrapper is None:
        yield _problem(
            f"{COLLECTIVES_VARIABLE}=mpi, but {WRAPPER_VARIABLE} is not set and there"
            f" is no {WRAPPER} in {', '.join(_library_dirs(host_info))}"
        )
    else:
        problem = _wrapper_problem(host_info, wrapper)
        if problem:
            yield _problem(f"{COLLECTIVES_VARIABLE}=mpi, but {wrapper!r} {problem}")
    yield from _no_launcher(host_info)


def _problem(text: str) -> Problem:
    return Problem(
        "mpi-collectives",
        f"{text}; jaxlib would end the process",
        f"set {WRAPPER_VARIABLE} to a {WRAPPER} built for the site's MPI (bind both"
        f" into the container), or unset {COLLECTIVES_VARIABLE}: gloo needs nothing",
    )


def _wrapper_problem(host_info: HostInfo, wrapper: str) -> str | None:
    """Why jaxlib would reject a library."""
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
        return "is not an MPIwrapper: it has no version"
    if major != ABI[0] or minor < ABI[1]:
        return f"has the ABI {major}.{minor}, but jaxlib needs {ABI[0]}.{ABI[1]}"
    return None


def _no_launcher(host_info: HostInfo) -> Iterator[Problem]:
    """Without PMI each process gets its own MPI world, and every sum is wrong."""
    processes = host_info.number(PROCESSES) or 1
    if processes == 1 or any(map(host_info.variable, _MPI_VARIABLES)):
        return
    yield Problem(
        "mpi-collectives",
        f"{COLLECTIVES_VARIABLE}=mpi, but no launcher known to MPI started this"
        f" process: each of the {processes} would get its own world, and sums would be"
        " wrong",
        "start the ranks with srun --mpi=pmix or --mpi=pmi2 (srun --mpi=list shows"
        f" which exist) or with mpirun, or unset {COLLECTIVES_VARIABLE}",
    )
