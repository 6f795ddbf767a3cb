"""Checks of the libraries, XLA flags and proxies that a program inherits."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from jaxsif.core.errors import Problem
from jaxsif.core.image import VENV, XLA_FLAGS
from jaxsif.core.text import quoted
from jaxsif.node.host import HostInfo

# The first two must match; other versions of the rest may work.
_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "ml_dtypes")
_CORE = ("jax", "jaxlib")

# Directories for the driver's libraries, which must come from the host.
_DRIVER_DIRS = (
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
    replaced: dict[str, list[str]] = {}
    for package in _PACKAGES:
        directory = _import_dir(host_info, package)
        if directory not in (None, own):
            replaced.setdefault(str(directory), []).append(package)
    for directory, packages in replaced.items():
        yield _other_packages(host_info, packages, directory, own)
    yield from _other_python(host_info)
    if (host_info.accelerator or "").startswith("cuda"):
        yield from _other_libraries(host_info)


def _image_packages(host_info: HostInfo) -> str | None:
    for name in host_info.names(f"{VENV}/lib"):
        directory = f"{VENV}/lib/{name}/site-packages"
        if name.startswith("python3") and host_info.has(directory):
            return directory
    return None


def _import_dir(host_info: HostInfo, package: str) -> str | None:
    """The directory that `import package` would use, without importing it."""
    entries = [str(host_info.path(entry)) for entry in host_info.search_path]
    spec = PathFinder.find_spec(package, entries)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    directory = origin.parents[1] if origin.name == "__init__.py" else origin.parent
    return f"/{directory.relative_to(host_info.root)}"


def _other_packages(
    host_info: HostInfo, packages: list[str], directory: str, own: str
) -> Problem:
    cause, remedy = _cause(host_info, directory)
    return Problem(
        "host-packages-visible",
        f"{', '.join(packages)} would be imported from {directory} instead of the"
        f" image's {own}: {cause}",
        remedy,
        is_fatal=any(package in _CORE for package in packages),
    )


def _cause(host_info: HostInfo, directory: str) -> tuple[str, str]:
    """Which variable adds a directory, and how to exclude it."""
    for entry in host_info.variable("PYTHONPATH").split(":"):
        if entry and f"{directory}/".startswith(f"{entry.rstrip('/')}/"):
            return "PYTHONPATH names it", "unset PYTHONPATH, or remove it there"
    if "/.local/lib/python" in directory:
        return (
            "~/.local is searched, because PYTHONNOUSERSITE is not set",
            "export PYTHONNOUSERSITE=1, as the image does unless it is set already, or"
            " pip uninstall it there",
        )
    conda = host_info.variable("CONDA_PREFIX")
    if conda and directory.startswith(f"{conda}/"):
        return f"conda's environment {conda} is active", "conda deactivate"
    if directory.startswith(f"{host_info.python}/"):
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
    venv = host_info.variable("VIRTUAL_ENV")
    for entry in host_info.variable("PATH").split(":"):
        directory = entry.rstrip("/")
        if not directory or not host_info.has(f"{directory}/python"):
            continue
        if directory != f"{VENV}/bin" and not (venv and directory.startswith(venv)):
            yield Problem(
                "host-packages-visible",
                f"`python` is {directory}/python instead of the image's"
                f" {VENV}/bin/python: PATH names {directory} first",
                f"call {VENV}/bin/python, or remove {directory} from PATH",
                is_fatal=False,
            )
        return


def _other_libraries(host_info: HostInfo) -> Iterator[Problem]:
    preloaded = re.split("[ :]+", host_info.variable("LD_PRELOAD"))
    for name in filter(None, preloaded):
        if _LIBRARY.fullmatch(Path(name).name):
            yield _other_library("LD_PRELOAD", name)
    for directory in host_info.variable("LD_LIBRARY_PATH").split(":"):
        if not directory.startswith("/") or directory.startswith(_DRIVER_DIRS):
            continue
        # The image's own wheels may be named on purpose.
        if directory.startswith(f"{VENV}/"):
            continue
        libraries = [n for n in host_info.names(directory) if _LIBRARY.fullmatch(n)]
        if libraries:
            yield _other_library("LD_LIBRARY_PATH", f"{directory}/{libraries[0]}")


def _other_library(variable: str, path: str) -> Problem:
    return Problem(
        "host-packages-visible",
        f"{path} may be loaded instead of the image's: {variable} names it",
        f"unset {variable} in the container (SINGULARITYENV_{variable},"
        f" APPTAINERENV_{variable})",
        is_fatal=False,
    )


# Made with the image (tools/image_flags.py): every name that jaxlib and its plugins may
# know, and some more.

# As XLA reads it, up to the first text that is not a flag
# (openxla/xla: xla/parse_flags_from_env.cc).
_SPACE = " \t\r\n"
_FLAG = re.compile(
    r"""[ \t\r\n]*(-[-_a-zA-Z0-9]*)  # the name
        (?:="(?:\\.|[^"])*"?         # a value in quotes, perhaps never closed
          |='[^']*'?
          |[^ \t\r\n]*)              # or anything up to the next space""",
    re.VERBOSE | re.DOTALL,
)


def xla_flags(host_info: HostInfo) -> Iterator[Problem]:
    """Report a flag that this jaxlib does not know, before XLA ends the process."""
    value = host_info.variable("XLA_FLAGS")
    if not value:
        return
    if not value.lstrip(_SPACE).startswith("-"):
        content = host_info.read(os.path.abspath(value))
        if content is None:
            yield _no_such_file(value)
            return
        value = content
    names, ignored = split_flags(value)
    known = (host_info.read(XLA_FLAGS) or "").split()
    if known:
        for name in names:
            yield from _unknown(name, known)
    if ignored:
        yield Problem(
            "xla-flags",
            f"XLA_FLAGS: XLA ignores everything from {quoted(ignored)} on, because it"
            " does not begin with '-'",
            "write each flag as --name=value, separated by spaces",
            is_fatal=False,
        )


def split_flags(text: str) -> tuple[list[str], str]:
    """The names of the flags, with their dashes, and the rest that XLA ignores."""
    names = []
    position = 0
    while match := _FLAG.match(text, position):
        names.append(match[1])
        position = match.end()
    return names, text[position:].strip(_SPACE)


def _unknown(name: str, known: list[str]) -> Iterator[Problem]:
    bare = name.lstrip("-").replace("-", "_")
    if name.startswith("--") and name[2:] in known:
        return
    nearest = bare if bare in known else _nearest(bare, known)
    # Flags of other families may be valid although they are not in the file.
    if not bare.startswith("xla_") and not nearest:
        return
    instead = f"write --{nearest}" if nearest else "remove it"
    yield Problem(
        "xla-flags",
        f"XLA_FLAGS contains {quoted(name)}, which this jaxlib does not know; XLA"
        " aborts the process",
        f"{instead}; flags change between versions of XLA",
    )


def _nearest(name: str, known: list[str]) -> str | None:
    # Two milliseconds to import, and only needed when something is wrong.
    import difflib

    # For other families only a close match counts as a typo.
    cutoff = 0.6 if name.startswith("xla_") else 0.85
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff)), None)


def _no_such_file(value: str) -> Problem:
    return Problem(
        "xla-flags",
        f"XLA_FLAGS={quoted(value)} does not begin with '-', so XLA takes it for the"
        " name of a file, which cannot be read; XLA aborts the process",
        "write flags as --name=value, or give the path of a file that every node can"
        " read",
    )


# gRPC's rules: the first variable that is set counts, even if empty; lower case only;
# only http://; the first list that is set counts; an entry is a suffix of a name, or a
# range of addresses if the host is an address. No wildcard.
# (grpc/grpc: src/core/handshaker/http_connect/http_proxy_mapper.cc)
_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_NO_PROXY_VARIABLES = ("no_grpc_proxy", "no_proxy")


def proxy(host_info: HostInfo, coordinator_host: str | None) -> Iterator[Problem]:
    """Report a proxy between a rank and its coordinator; the rank would time out."""
    environment = host_info.environment
    name = next((name for name in _PROXY_VARIABLES if name in environment), None)
    if coordinator_host is None or name is None:
        return
    scheme, _, rest = environment[name].partition("://")
    if scheme.lower() != "http" or not rest:
        return
    exceptions = next((e for e in _NO_PROXY_VARIABLES if e in environment), None)
    host = coordinator_host.strip("[]")
    if exceptions and _matches_no_proxy(host, environment[exceptions]):
        return
    yield Problem(
        "proxy",
        f"{name} sends this rank's connection to the coordinator {host} to the proxy"
        f" {_without_password(rest)}; {_explain_no_proxy(host_info, exceptions)}",
        f"export no_grpc_proxy={host} (lower case, no wildcard), or start the program"
        " with `singularity run`, which sets it",
    )


def _matches_no_proxy(host: str, exceptions: str) -> bool:
    return any(
        host.lower().endswith(entry.strip().lower()) or _is_within(host, entry.strip())
        for entry in exceptions.split(",")
        if entry
    )


def _is_within(host: str, entry: str) -> bool:
    if "/" not in entry:
        return False
    # Rarely needed, and four milliseconds to import.
    import ipaddress

    try:
        network = ipaddress.ip_network(entry, strict=False)
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _explain_no_proxy(host_info: HostInfo, exceptions: str | None) -> str:
    if exceptions is None:
        upper = host_info.variable("NO_PROXY")
        return (
            f"gRPC does not read NO_PROXY={upper!r}"
            if upper
            else "no_proxy does not name it"
        )
    value = host_info.environment[exceptions]
    wildcard = ", and gRPC supports no wildcard" if "*" in value else ""
    return f"{exceptions}={value!r} does not name it{wildcard}"


def _without_password(address: str) -> str:
    return address.rpartition("@")[2].rstrip("/")
