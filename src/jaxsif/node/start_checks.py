"""Fast checks in each rank before JAX starts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from functools import partial

from jaxsif.core.problem import Problem
from jaxsif.node import flags, host, mpi, network, software
from jaxsif.node.driver import driver
from jaxsif.node.guard import guarded
from jaxsif.node.host_info import HostInfo
from jaxsif.node.visibility import visibility


def start_problems(
    host_info: HostInfo, coordinator_host: str | None = None
) -> list[Problem]:
    """All problems, fatal ones first.

    Args:
      host_info: of this rank.
      coordinator_host: the name or address that JAX will connect to, if any.
    """
    checks = [
        host.not_under_srun,
        flags.xla_flags,
        mpi.mpi_collectives,
        software.host_packages,
        host.hostname,
        host.open_files,
        host.temporary_space,
    ]
    # Only NCCL needs the last two.
    if host_info.expects_gpus or host_info.uses_cpu_stand_ins:
        checks += [driver, visibility, host.shared_memory, host.locked_memory]
    found = [
        problem
        for check in checks
        for problem in guarded(check.__name__, partial(check, host_info))
    ]
    proxy = partial(network.proxy, host_info, coordinator_host)
    found += guarded("proxy", proxy)
    return sorted(found, key=lambda problem: not problem.is_fatal)
