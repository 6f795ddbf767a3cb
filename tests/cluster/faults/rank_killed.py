"""A rank is killed (SIGKILL) during a collective of the others."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal

from fault import Fault, at_point

FAULT = Fault(says=("rank 5 on node2", "Killed"))


def in_rank(rank):
    if rank == 5:
        at_point("before allreduce", lambda: os.kill(os.getpid(), signal.SIGKILL))
