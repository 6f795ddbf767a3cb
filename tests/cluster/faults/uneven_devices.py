"""One rank has more devices than the others."""
# SPDX-License-Identifier: Apache-2.0

import os

from fault import Fault

FAULT = Fault(says=("rank 5 on node2", "2 local devices, 1 expected"))


def in_rank(rank):
    if rank == 5:
        os.environ["JAX_NUM_CPU_DEVICES"] = "2"
