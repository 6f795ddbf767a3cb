"""A rank exits before it initialises."""
# SPDX-License-Identifier: Apache-2.0

import sys

from fault import Fault, mark

FAULT = Fault(says=("rank 7 on node2", "Exited with exit code 9"))


def in_rank(rank):
    if rank == 7:
        mark("fault")
        sys.exit(9)
