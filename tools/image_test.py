"""Tests the image from inside, without a GPU: `apptainer test IMAGE`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any
from urllib.parse import quote

KIT = Path("/opt/jax-sif")
LOCKED = re.compile(r"^([a-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def locked_versions_are_installed() -> str:
    locked = dict(LOCKED.findall((KIT / "recipe/requirements.txt").read_text()))
    for name, version in locked.items():
        found = metadata.version(name)
        if found != version:
            raise AssertionError(f"{name} is {found!r}, the lock has {version!r}")
    return f"{len(locked)} packages, jax {locked['jax']}"


def packages_agree_with_each_other() -> str:
    return run(sys.executable, "-m", "pip", "check").strip()


def the_kit_imports() -> str:
    import jaxsif

    manifest = json.loads((KIT / "image.json").read_text())
    return f"{Path(jaxsif.__file__).parent}, {manifest['accel']}"


def byte_code_is_there() -> str:
    spec = util.find_spec("jax")
    if spec is None or not spec.cached or not Path(spec.cached).exists():
        raise AssertionError(f"no byte code for jax: {spec!r}")
    return str(spec.cached)


def fabric_libraries_load() -> str:
    names = ("libibverbs.so.1", "librdmacm.so.1", "libmlx5.so.1")
    for name in names:
        ctypes.CDLL(name)
    return " ".join(names)


def nccl_loads_in_the_locked_version() -> str:
    library = ctypes.CDLL(str(nvidia_file("nccl/lib/libnccl.so.2")))
    number = ctypes.c_int()
    library.ncclGetVersion(ctypes.byref(number))
    major, rest = divmod(number.value, 10000)
    found = f"{major}.{rest // 100}.{rest % 100}"
    expected = json.loads((KIT / "image.json").read_text())["versions"]["nccl"]
    if found != expected:
        raise AssertionError(f"NCCL reports {found!r}, the lock has {expected!r}")
    return found


def ptxas_runs() -> str:
    return run(str(nvidia_file("*/bin/ptxas")), "--version").splitlines()[-1]


def the_flags_of_xla_are_listed() -> str:
    known = (KIT / "xla_flags.txt").read_text().split()
    asked = {"xla_dump_to", "xla_force_host_platform_device_count"}
    if missing := asked - set(known):
        raise AssertionError(f"{missing!r} are not among {len(known)} names")
    return f"{len(known)} names"


def the_report_has_its_charts() -> str:
    path = KIT / "share/plotly/plotly.min.js"
    with path.open() as file:
        head = file.read(100)
    version = re.search(r"plotly\.js v\S+", head)
    if version is None or not path.with_name("LICENSE.txt").exists():
        raise AssertionError(f"{path} begins with {head!r}, or its licence is missing")
    if util.find_spec("plotly") is not None:
        raise AssertionError("the package plotly is installed, and not whole")
    return version[0]


def the_bill_of_materials_is_what_is_there() -> str:
    """Asks dpkg, the folders of Python's packages and the files themselves."""
    bill = json.loads((KIT / "sbom.cdx.json").read_text())
    listed = {c.get("purl", c["bom-ref"]): c for c in bill["components"]}
    due = {*debian_there(), *python_there(), *kit_there(), *plotly_there(listed)}
    missing, extra = sorted(due - set(listed)), sorted(set(listed) - due)
    if missing or extra or len(listed) != len(bill["components"]):
        raise AssertionError(f"not listed: {missing!r}; listed but not here: {extra!r}")
    return f"{len(listed)} components, {bill['bomFormat']} {bill['specVersion']}"


def debian_there() -> set[str]:
    release = Path("/etc/debian_version").read_text().strip()
    words = "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"
    lines = run("dpkg-query", "--show", "--showformat", words).splitlines()
    found = {f"debian@{release}"}
    for line in lines:
        status, name, version, architecture = line.split(" ")
        if status == "installed":
            found.add(
                f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}"
                f"?arch={architecture}&distro=debian-{release.partition('.')[0]}"
            )
    return found


def python_there() -> set[str]:
    """By the names of the folders, so that metadata which cannot be read counts too."""
    folder = Path(str(metadata.distribution("jax").locate_file("")))
    found = set()
    for path in [*folder.glob("*.dist-info"), *folder.glob("*.egg-info")]:
        name, _, version = path.name.rpartition(".")[0].partition("-")
        name = re.sub(r"[-_.]+", "-", name.lower())
        found.add(f"pkg:pypi/{quote(name)}@{quote(version, safe='')}")
    return found


def kit_there() -> set[str]:
    pins = (KIT / "recipe/image.env").read_text()
    version = re.search(r"^JAX_SIF_VERSION=(.+)$", pins, re.MULTILINE)
    return {f"pkg:generic/jax-sif@{version[1] if version else ''}"}


def plotly_there(listed: dict[str, Any]) -> set[str]:
    """What is in share/ is plotly.js, its licence, and nothing else."""
    files = {str(path.relative_to(KIT)) for path in KIT.glob("share/**/*.*")}
    if files != {"share/plotly/plotly.min.js", "share/plotly/LICENSE.txt"}:
        raise AssertionError(f"share/ has {files!r}")
    content = (KIT / "share/plotly/plotly.min.js").read_bytes()
    version = re.search(rb"plotly\.js v(\S+)", content[:100])
    name = f"pkg:npm/plotly.js@{version[1].decode() if version else ''}"
    sums = [entry["content"] for entry in listed.get(name, {}).get("hashes", [])]
    if sums != [hashlib.sha256(content).hexdigest()]:
        raise AssertionError(f"{name} is listed with {sums!r}")
    return {name}


def packages_can_be_put_on_top() -> str:
    first, *lines = (KIT / "packages.txt").read_text().splitlines()
    if f"pip=={metadata.version('pip')}" not in lines:
        raise AssertionError(f"pip is not among {len(lines)} packages")
    return f"{first}; {run('mksquashfs', '-version').splitlines()[0]}"


def two_cpu_devices_sum() -> str:
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = "2"
    import jax

    mesh, over = jax.make_mesh((2,), ("i",)), jax.sharding.PartitionSpec("i")
    summands = jax.device_put(
        jax.numpy.array([1.0, 2.0]), jax.sharding.NamedSharding(mesh, over)
    )
    reduce = jax.shard_map(
        lambda x: jax.lax.psum(x, "i"), mesh=mesh, in_specs=over, out_specs=over
    )
    total = jax.jit(reduce)(summands).tolist()
    if total != [3.0, 3.0]:
        raise AssertionError(f"psum of [1, 2] gave {total!r}")
    return f"{jax.device_count()} devices, {total}"


def nvidia_file(pattern: str) -> Path:
    """The matching file of the NVIDIA wheels, whose paths differ in CUDA 12 and 13."""
    spec = util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations or []) if spec else []
    found = [path for root in roots for path in Path(root).glob(pattern)]
    if not found:
        raise AssertionError(f"no file nvidia/{pattern} in {roots!r}")
    return found[0]


def run(*command: str) -> str:
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout


CHECKS: tuple[Callable[[], str], ...] = (
    locked_versions_are_installed,
    packages_agree_with_each_other,
    the_kit_imports,
    byte_code_is_there,
    fabric_libraries_load,
    the_flags_of_xla_are_listed,
    the_report_has_its_charts,
    packages_can_be_put_on_top,
    the_bill_of_materials_is_what_is_there,
    two_cpu_devices_sum,
)
CUDA_CHECKS: tuple[Callable[[], str], ...] = (
    nccl_loads_in_the_locked_version,
    ptxas_runs,
)


def main() -> int:
    accel = json.loads((KIT / "image.json").read_text())["accel"]
    failures = 0
    for check in CHECKS + (CUDA_CHECKS if accel.startswith("cuda") else ()):
        sentence = check.__name__.replace("_", " ")
        try:
            print(f"ok    {sentence}: {check()}", flush=True)
        except Exception as error:
            # The remaining checks often show the cause, so they run anyway.
            print(f"FAIL  {sentence}: {error!r}", flush=True)
            failures += 1
    print(f"image test: {'FAIL' if failures else 'pass'} ({accel})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
