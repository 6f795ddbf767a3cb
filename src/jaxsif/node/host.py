"""A node's variables, limits, names, files and free memory, as read by the checks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
import os
import re
import resource
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jaxsif.core.image import IMAGE_JSON, PLATFORM_VARIABLE

MIB = 2**20
GIB = 2**30

# Limit and usage of a control group's memory, by the version of cgroups.
_CGROUP_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
_CGROUP_V2 = ("memory.max", "memory.current")


@dataclass(frozen=True)
class DiskSpace:
    """The space of a file system.

    `free_inodes` is None if the file system does not limit the number of files.
    """

    size_bytes: int
    free_bytes: int
    free_inodes: int | None
    is_writable: bool


@dataclass(frozen=True)
class HostInfo:
    """A node as seen by a process. Files are read below `root` on demand.

    `resolve` returns a host name's addresses, none if it is unknown; `disk_space` the
    space of a directory's file system, None if the directory does not exist.
    """

    environment: Mapping[str, str]
    root: Path
    host_name: str
    search_path: tuple[str, ...]
    python: str
    open_files: float
    open_files_hard_limit: float
    locked_bytes: float
    resolve: Callable[[str], tuple[str, ...]]
    disk_space: Callable[[str], DiskSpace | None]

    def path(self, name: str) -> Path:
        """Map an absolute path of the node below `root`."""
        return self.root / name.lstrip("/")

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    def read(self, name: str) -> str | None:
        """A text file's content; None if it cannot be read."""
        try:
            return self.path(name).read_text(errors="replace")
        except OSError:
            return None

    def names(self, directory: str) -> list[str]:
        """The sorted names in a directory; empty if it cannot be read."""
        try:
            return sorted(os.listdir(self.path(directory)))
        except OSError:
            return []

    def variable(self, name: str) -> str:
        return self.environment.get(name) or ""

    def number(self, variable: str) -> int | None:
        """A variable as a number; None if it is not one."""
        value = self.variable(variable)
        return int(value) if value.isdecimal() else None

    @property
    def accelerator(self) -> str | None:
        """The image's accelerator, e.g. `cuda12` or `cpu`; None outside an image."""
        return self.image_facts.get("accel")

    @property
    def image_facts(self) -> dict[str, Any]:
        """The image's build information; empty outside an image."""
        try:
            facts = json.loads(self.read(IMAGE_JSON) or "{}")
        except ValueError:
            return {}
        return facts if isinstance(facts, dict) else {}

    @property
    def uses_cpu_stand_ins(self) -> bool:
        """Whether CPU devices stand in for GPUs on this cluster."""
        return self.variable(PLATFORM_VARIABLE) == "cpu"

    @property
    def expects_gpus(self) -> bool:
        """Whether JAX will use NVIDIA GPUs, as far as can be known without it."""
        platforms = self.variable("JAX_PLATFORMS") or self.variable("JAX_PLATFORM_NAME")
        if platforms.split(",")[0] == "cpu" or self.accelerator == "cpu":
            return False
        return self.accelerator is not None or self.has("/dev/nvidiactl")


def inspect_host(environment: Mapping[str, str], root: Path = Path("/")) -> HostInfo:
    """Inspect this node; `root` may be a directory with a simulated node's files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)

    def disk_space(directory: str) -> DiskSpace | None:
        return _disk_space(root / directory.lstrip("/"))

    return HostInfo(
        environment=environment,
        root=root,
        host_name=socket.gethostname(),
        search_path=tuple(map(_absolute, sys.path)),
        python=sys.prefix,
        open_files=_limit(soft),
        open_files_hard_limit=_limit(hard),
        locked_bytes=_limit(locked),
        resolve=_addresses,
        disk_space=disk_space,
    )


def _absolute(entry: str) -> str:
    try:
        return os.path.abspath(entry)
    # The working directory has been deleted.
    except OSError:
        return entry


def _limit(number: int) -> float:
    return math.inf if number == resource.RLIM_INFINITY else number


def _addresses(name: str) -> tuple[str, ...]:
    try:
        infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(str(address[4][0]) for address in infos)


def _disk_space(directory: Path) -> DiskSpace | None:
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    return DiskSpace(
        size_bytes=status.f_blocks * status.f_frsize,
        free_bytes=status.f_bavail * status.f_frsize,
        free_inodes=status.f_favail if status.f_files else None,
        is_writable=os.access(directory, os.W_OK),
    )


def free_memory_bytes(host_info: HostInfo) -> int | None:
    """Memory that the processes of this job may still use on this node, together.

    The minimum of the node's free memory and of the control groups' limits above this
    process (a job's `--mem`); None if both are unknown.
    """
    free = [*_free_on_node(host_info), *_free_in_cgroups(host_info)]
    return max(min(free), 0) if free else None


def _free_on_node(host_info: HostInfo) -> Iterator[int]:
    text = host_info.read("/proc/meminfo") or ""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.M)
    if match:
        yield int(match[1]) * 1024


def _free_in_cgroups(host_info: HostInfo) -> Iterator[int]:
    """Free memory of every cgroup from the process's own up, for versions 1 and 2."""
    for line in (host_info.read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = "/sys/fs/cgroup/memory" if controllers else "/sys/fs/cgroup"
        names = _CGROUP_V1 if controllers else _CGROUP_V2
        group = PurePosixPath(path)
        for directory in (group, *group.parents):
            below = f"{top}/{str(directory).lstrip('/')}"
            numbers = [host_info.read(f"{below}/{name}") or "" for name in names]
            # Without a limit it reads `max`, or in version 1 a huge number.
            if all(n.strip().isdecimal() for n in numbers):
                limit, used = map(int, numbers)
                yield limit - used
