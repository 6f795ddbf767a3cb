"""One rank has more devices than the others."""
# SPDX-License-Identifier: Apache-2.0

import os
import time

from fault import Fault

FAULT = Fault(says=("rank 5 on node2", "2 local devices, 1 expected"))


def in_rank(rank):
    if rank == 5:
        os.environ["JAX_NUM_CPU_DEVICES"] = "2"
        return
    from jaxsif.rank.reporter import Reporter

    devices = Reporter.devices

    def devices_then_wait(self):
        devices(self)
        # JAX raises in these ranks next: rank 5 must have reported before they end it.
        time.sleep(3)

    Reporter.devices = devices_then_wait
