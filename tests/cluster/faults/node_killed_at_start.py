"""Slurm's daemons and all ranks of a node are killed while the ranks start."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import time

from fault import Fault, at_point, node_dies

# Slurm would put the job into the queue again.
FAULT = Fault(says=("node2",), options=("--no-requeue",), has_baseline=False)


def in_rank(rank):
    # No rank is through before they are killed.
    if rank >= 4:
        at_point("after started", lambda: time.sleep(5))


@contextlib.contextmanager
def around(cluster):
    with node_dies(cluster, "node2"):
        yield {}
