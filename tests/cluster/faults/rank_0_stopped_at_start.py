"""Rank 0, the coordinator, is stopped (SIGSTOP) right after it has started."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal

from fault import Fault, at_point

FAULT = Fault(says=("rank 0 on node1", "not reported since"))


def in_rank(rank):
    if rank == 0:
        at_point("after started", lambda: os.kill(os.getpid(), signal.SIGSTOP))
