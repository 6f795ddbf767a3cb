"""A rank is stopped (SIGSTOP) right after it has started."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal

from fault import Fault, at_point

FAULT = Fault(says=("rank 5 on node2", "not reported since"))


def in_rank(rank):
    if rank == 5:
        at_point("after started", lambda: os.kill(os.getpid(), signal.SIGSTOP))
