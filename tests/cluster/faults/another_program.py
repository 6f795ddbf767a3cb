"""One rank runs another program than the rest."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    says=("different program on rank 5 on node2", "allreduce.py"), has_baseline=False
)


def in_rank(rank):
    if rank == 5:
        from jaxsif.rank import peers

        peers.program_fingerprint = lambda: "other.py 00000000"
