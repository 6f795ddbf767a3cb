"""A node is lost, network and processes, before its ranks have started."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import time

from fault import Fault, mark, node_dies

FAULT = Fault(
    kind="slurm-node-failed",
    ranks=range(4, 8),
    # Slurm's own end of a job of which a node is lost: the verdict comes before.
    status=129,
    # It would put the job into the queue again.
    options=("--no-requeue",),
    # Nothing but Slurm's own limit says so: here 30 s.
    within_s=60,
    has_baseline=False,
)


def in_rank(rank):
    if rank >= 4:
        mark("fault")
        time.sleep(600)


@contextlib.contextmanager
def around(cluster):
    with node_dies(cluster, "node2", is_cut=True):
        yield {}
