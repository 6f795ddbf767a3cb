"""Rank 0, the coordinator, is killed (SIGKILL) while the others sum."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal

from fault import Fault, at_collective

FAULT = Fault(says=("rank 0 on node1", "Killed"))


def in_rank(rank):
    if rank == 0:
        at_collective(lambda: os.kill(os.getpid(), signal.SIGKILL))
