"""A rank runs, but never reaches the collective."""
# SPDX-License-Identifier: Apache-2.0

import time

from fault import Fault, at_point

FAULT = Fault(says=("rank 5 on node2", "after devices"))


def in_rank(rank):
    if rank == 5:
        at_point("before allreduce", lambda: time.sleep(3600))
