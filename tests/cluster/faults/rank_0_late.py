"""Rank 0, the coordinator, starts 20 s late: no fault, the job passes."""
# SPDX-License-Identifier: Apache-2.0

import time

from fault import PASSES, Fault, mark

FAULT = Fault(says=PASSES, status=0)


def in_rank(rank):
    if rank == 0:
        time.sleep(20)
        mark("start")
