"""One rank's device computes wrongly."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(says=("foreign contribution", "rank 5 on node2"), has_baseline=False)


def in_rank(rank):
    if rank == 5:
        import numpy as np

        from jaxsif.core.slurm_env import Identity

        right = Identity.token
        Identity.token = lambda self, *place: right(self, *place) ^ (place[0] == 5)
        np.ones = lambda *arguments: np.full(*arguments[:1], 2, *arguments[1:])
