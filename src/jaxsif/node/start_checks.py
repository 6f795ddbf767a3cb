"""What would keep a rank from starting JAX well, in milliseconds; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from functools import partial

from jaxsif.core.problem import Trouble
from jaxsif.node import flags, host, mpi, network, software
from jaxsif.node.driver import driver
from jaxsif.node.guard import guarded
from jaxsif.node.host_info import Surroundings
from jaxsif.node.visibility import visibility


def start_troubles(
    surroundings: Surroundings, coordinator_host: str | None = None
) -> list[Trouble]:
    """Everything that is wrong, what is fatal first.

    Args:
      surroundings: of this rank.
      coordinator_host: the name or address that JAX will connect to, if there is one.
    """
    checks = [
        host.not_under_srun,
        flags.xla_flags,
        mpi.mpi_collectives,
        software.host_leak,
        host.own_name,
        host.open_files,
        host.temporary_space,
    ]
    # Only NCCL needs the last two.
    if surroundings.wants_gpus or surroundings.has_stand_ins:
        checks += [driver, visibility, host.shared_memory, host.locked_memory]
    found = [
        trouble
        for check in checks
        for trouble in guarded(check.__name__, partial(check, surroundings))
    ]
    proxy = partial(network.proxy, surroundings, coordinator_host)
    found += guarded("proxy", proxy)
    return sorted(found, key=lambda trouble: not trouble.is_fatal)
