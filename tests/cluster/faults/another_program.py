"""One rank runs a different program."""
# SPDX-License-Identifier: Apache-2.0

import os
import sys

from fault import Fault

FAULT = Fault(
    kind="program-differs", ranks=(5,), says=("allreduce.py",), has_baseline=False
)


def in_rank(rank):
    if rank == 5:
        other = os.path.join(os.environ["JAX_SIF_ROOT"], "diag/query_v2.py")
        os.execv(sys.executable, [sys.executable, other])
