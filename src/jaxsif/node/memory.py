"""Free memory on a node, within the limits of the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from jaxsif.node.host_info import HostInfo

_GROUPS = PurePosixPath("/sys/fs/cgroup")


def free_bytes(host_info: HostInfo) -> int | None:
    """Memory that the processes of this job may still use on this node, together.

    The minimum of the node's free memory and of the control groups' limits above this
    process (a job's `--mem`); None if both are unknown.
    """
    found = [*_of_node(host_info), *_of_groups(host_info)]
    return max(min(found), 0) if found else None


def _of_node(host_info: HostInfo) -> Iterator[int]:
    text = host_info.read("/proc/meminfo") or ""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.M)
    if match:
        yield int(match[1]) * 1024


def _of_groups(host_info: HostInfo) -> Iterator[int]:
    """Free memory of every cgroup from the process's own up, for versions 1 and 2."""
    for line in (host_info.read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = _GROUPS if not controllers else _GROUPS / "memory"
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        group = PurePosixPath(path)
        for folder in (group, *group.parents):
            place = top / str(folder).lstrip("/")
            numbers = [host_info.read(f"{place}/{name}") or "" for name in names]
            # Without a limit it reads `max`, or in version 1 a huge number.
            if all(n.strip().isdecimal() for n in numbers):
                limit, used = map(int, numbers)
                yield limit - used
