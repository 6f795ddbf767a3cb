"""Simulated nodes for the tests: a tree of files, and a HostInfo without problems."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxsif.core.errors import Problem
from jaxsif.node import DiskSpace, HostInfo
from jaxsif.node.host import GIB

PACKAGES = "/opt/jax/lib/python3.13/site-packages"

# What srun gives to rank 5 of 8 on two nodes, four GPUs each.
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_STEP_GPUS": "0,1,2,3",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3",
    "JAX_LOCAL_DEVICE_IDS": "1",
    "JAX_SIF_TOPOLOGY": "G8N2p8",
}
PLENTY = DiskSpace(
    size_bytes=64 * GIB, free_bytes=60 * GIB, free_inodes=10**6, is_writable=True
)


def put(root: Path, name: str, content: str = "") -> Path:
    """A file of the node."""
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def image(root: Path, accelerator: str = "cuda12") -> None:
    """The files of an image, with its packages."""
    facts = {
        "accel": accelerator,
        "built": "2026-11-21T00:00:00Z",
        "versions": {"python": "3.13.5", "jax": "0.12.0.1", "cuda": "12.9.79"},
    }
    put(root, "/opt/jax-sif/image.json", json.dumps(facts))
    put(root, "/opt/jax-sif/xla_flags.txt", "xla_dump_to\nxla_gpu_autotune_level\n")
    put(root, "/opt/jax/bin/python")
    for package in ("jax", "jaxlib", "numpy", "scipy", "ml_dtypes"):
        put(root, f"{PACKAGES}/{package}/__init__.py")


def gpus(root: Path, count: int = 4, driver: str = "550.54.15") -> None:
    """The files of a node with GPUs and a container that was started with --nv."""
    put(root, "/dev/nvidiactl")
    put(root, "/.singularity.d/libs/libcuda.so.1")
    version = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Tue Mar 5\n"
    put(root, "/proc/driver/nvidia/version", version)
    for number in range(count):
        put(root, f"/dev/nvidia{number}")
        device = root / f"sys/bus/pci/devices/0000:{number:02x}:00.0"
        put(root, f"/sys/bus/pci/devices/{device.name}/vendor", "0x10de\n")
        put(root, f"/sys/bus/pci/devices/{device.name}/class", "0x030200\n")
        (device / "driver").symlink_to("../../../bus/pci/drivers/nvidia")


def well(
    root: Path, environment: dict[str, str] | None = None, **changes: Any
) -> HostInfo:
    """HostInfo in which no check finds anything, but for the changes."""
    facts: dict[str, Any] = {
        "environment": {**STEP} if environment is None else environment,
        "root": root,
        "host_name": "node2",
        "search_path": (PACKAGES,),
        "python": "/opt/jax",
        "open_files": 1024,
        "open_files_hard_limit": 1048576,
        "locked_bytes": math.inf,
        "resolve": lambda name: ("10.0.0.2",),
        "disk_space": lambda directory: PLENTY,
    }
    return HostInfo(**{**facts, **changes})


def kinds(problems: Any) -> list[tuple[str, bool]]:
    """The kind of each trouble and whether it is fatal."""
    return [(problem.kind, problem.is_fatal) for problem in problems]


def described(problems: Iterable[Problem]) -> str:
    """The wording of problems, for golden files."""
    return "\n".join(f"{p.kind}: {p.text}\n  -> {p.remedy}" for p in problems)


def only(problems: Any) -> Problem:
    """The one trouble that there is."""
    (problem,) = problems
    return problem  # type: ignore[no-any-return]
