"""A rank ends by os._exit(0) during a collective of the others."""
# SPDX-License-Identifier: Apache-2.0

import os

from fault import Fault, at_point

FAULT = Fault(says=("rank 2 on node1", "exited with status 0"))


def in_rank(rank):
    if rank == 2:
        at_point("before allreduce", lambda: os._exit(0))
