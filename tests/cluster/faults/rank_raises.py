"""A Python exception in one rank after it has joined the group."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault, at_point

FAULT = Fault(says=("rank 5 on node2", "ended in an exception: ZeroDivisionError"))


def in_rank(rank):
    if rank == 5:
        at_point("after connected", lambda: 1 // 0)
