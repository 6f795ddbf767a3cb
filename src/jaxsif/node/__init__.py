"""Checks of a node without JAX, in each rank before JAX starts and in the doctor."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from functools import partial

from jaxsif.core.errors import Problem, guarded
from jaxsif.node import limits, mpi, software
from jaxsif.node.gpu_visibility import driver, visibility
from jaxsif.node.host import DiskSpace, HostInfo, inspect_host

__all__ = ["DiskSpace", "HostInfo", "inspect_host", "start_problems"]


def start_problems(
    host_info: HostInfo, coordinator_host: str | None = None
) -> list[Problem]:
    """What the fast checks of a rank find before JAX starts, fatal problems first.

    Args:
      host_info: of this rank.
      coordinator_host: the name or address that JAX will connect to, if any.
    """
    checks = [
        limits.not_under_srun,
        software.xla_flags,
        mpi.mpi_collectives,
        software.host_packages,
        limits.hostname,
        limits.open_files,
        limits.temporary_space,
    ]
    # Only NCCL needs the last two.
    if host_info.expects_gpus or host_info.uses_cpu_stand_ins:
        checks += [driver, visibility, limits.shared_memory, limits.locked_memory]
    problems = [
        problem
        for check in checks
        for problem in guarded(check.__name__, partial(check, host_info))
    ]
    proxy = partial(software.proxy, host_info, coordinator_host)
    problems += guarded("proxy", proxy)
    return sorted(problems, key=lambda problem: not problem.is_fatal)
