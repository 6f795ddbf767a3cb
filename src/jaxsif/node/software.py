"""Check that the image's JAX and libraries are loaded instead of the host's."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from jaxsif.core.problem import Problem
from jaxsif.node.host_info import HostInfo

VENV = "/opt/jax"

# The first two must match; other versions of the rest may work.
_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "ml_dtypes")
_CORE = ("jax", "jaxlib")

# Directories for the driver's libraries, which must come from the host.
_DRIVER_FOLDERS = (
    "/.singularity.d/libs",
    "/usr/local/nvidia",
    "/usr/local/cuda/compat",
)
# What the CUDA wheels of the image bring.
_LIBRARY = re.compile(
    r"lib(nccl|cudnn\w*|cublas(Lt)?|cudart|cupti|nvrtc)\.so(\.[\d.]+)?", re.ASCII
)


def host_packages(host_info: HostInfo) -> Iterator[Problem]:
    """Report host packages that replace the image's."""
    own = _image_packages(host_info)
    if own is None:
        return
    strangers: dict[str, list[str]] = {}
    for package in _PACKAGES:
        folder = _found_in(host_info, package)
        if folder not in (None, own):
            strangers.setdefault(str(folder), []).append(package)
    for folder, packages in strangers.items():
        yield _other_packages(host_info, packages, folder, own)
    yield from _other_python(host_info)
    if (host_info.accelerator or "").startswith("cuda"):
        yield from _other_libraries(host_info)


def _image_packages(host_info: HostInfo) -> str | None:
    for name in host_info.names(f"{VENV}/lib"):
        folder = f"{VENV}/lib/{name}/site-packages"
        if name.startswith("python3") and host_info.has(folder):
            return folder
    return None


def _found_in(host_info: HostInfo, package: str) -> str | None:
    """The directory that `import package` would use, without importing it."""
    entries = [str(host_info.path(entry)) for entry in host_info.search_path]
    spec = PathFinder.find_spec(package, entries)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    folder = origin.parents[1] if origin.name == "__init__.py" else origin.parent
    return f"/{folder.relative_to(host_info.root)}"


def _other_packages(
    host_info: HostInfo, packages: list[str], folder: str, own: str
) -> Problem:
    cause, remedy = _cause(host_info, folder)
    return Problem(
        "host-packages-visible",
        f"{', '.join(packages)} would be imported from {folder} instead of the image's"
        f" {own}: {cause}",
        remedy,
        is_fatal=any(package in _CORE for package in packages),
    )


def _cause(host_info: HostInfo, folder: str) -> tuple[str, str]:
    """Which variable adds a directory, and how to exclude it."""
    for entry in host_info.variable("PYTHONPATH").split(":"):
        if entry and f"{folder}/".startswith(f"{entry.rstrip('/')}/"):
            return "PYTHONPATH names it", "unset PYTHONPATH, or remove it there"
    if "/.local/lib/python" in folder:
        return (
            "~/.local is searched, because PYTHONNOUSERSITE is not set",
            "export PYTHONNOUSERSITE=1, as the image does unless it is set already, or"
            " pip uninstall it there",
        )
    conda = host_info.variable("CONDA_PREFIX")
    if conda and folder.startswith(f"{conda}/"):
        return f"conda's environment {conda} is active", "conda deactivate"
    if folder.startswith(f"{host_info.python}/"):
        return (
            f"the Python that runs is {host_info.python}'s",
            f"call {VENV}/bin/python, or keep other Pythons off PATH",
        )
    return (
        "it comes first in sys.path",
        "if it is next to the program, rename it",
    )


def _other_python(host_info: HostInfo) -> Iterator[Problem]:
    """Report if `python` is not the image's, and so cannot import JAX."""
    chosen = host_info.variable("VIRTUAL_ENV")
    for entry in host_info.variable("PATH").split(":"):
        folder = entry.rstrip("/")
        if not folder or not host_info.has(f"{folder}/python"):
            continue
        if folder != f"{VENV}/bin" and not (chosen and folder.startswith(chosen)):
            yield Problem(
                "host-packages-visible",
                f"`python` is {folder}/python instead of the image's"
                f" {VENV}/bin/python: PATH names {folder} first",
                f"call {VENV}/bin/python, or remove {folder} from PATH",
                is_fatal=False,
            )
        return


def _other_libraries(host_info: HostInfo) -> Iterator[Problem]:
    preloaded = re.split("[ :]+", host_info.variable("LD_PRELOAD"))
    for name in filter(None, preloaded):
        if _LIBRARY.fullmatch(Path(name).name):
            yield _other_library("LD_PRELOAD", name)
    for folder in host_info.variable("LD_LIBRARY_PATH").split(":"):
        if not folder.startswith("/") or folder.startswith(_DRIVER_FOLDERS):
            continue
        # The image's own wheels may be named on purpose.
        if folder.startswith(f"{VENV}/"):
            continue
        found = [n for n in host_info.names(folder) if _LIBRARY.fullmatch(n)]
        if found:
            yield _other_library("LD_LIBRARY_PATH", f"{folder}/{found[0]}")


def _other_library(variable: str, path: str) -> Problem:
    return Problem(
        "host-packages-visible",
        f"{path} may be loaded instead of the image's: {variable} names it",
        f"unset {variable} in the container (SINGULARITYENV_{variable},"
        f" APPTAINERENV_{variable})",
        is_fatal=False,
    )
