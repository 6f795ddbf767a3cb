"""One rank has more devices than the others."""
# SPDX-License-Identifier: Apache-2.0

import os
import time

from fault import Fault, at_point

FAULT = Fault(says=("rank 5 on node2", "2 local devices, 1 expected"))


def in_rank(rank):
    if rank == 5:
        os.environ["JAX_NUM_CPU_DEVICES"] = "2"
        return
    # JAX raises in these ranks next: rank 5 must have reported before they end it.
    at_point("after devices", lambda: time.sleep(3), is_fault=False)
