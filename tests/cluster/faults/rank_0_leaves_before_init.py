"""Rank 0, the coordinator, exits before it initialises."""
# SPDX-License-Identifier: Apache-2.0

import sys

from fault import Fault, mark

FAULT = Fault(says=("rank 0 on node1", "Exited with exit code 9"))


def in_rank(rank):
    if rank == 0:
        mark("fault")
        sys.exit(9)
