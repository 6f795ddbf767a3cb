"""Rank 0, the coordinator, is killed (SIGKILL) during a collective of the others."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal

from fault import Fault, at_point

FAULT = Fault(says=("rank 0 on node1", "Killed"))


def in_rank(rank):
    if rank == 0:
        at_point("before allreduce", lambda: os.kill(os.getpid(), signal.SIGKILL))
