"""A rank calls the collectives in a different order."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault, mark, on_points

FAULT = Fault(
    says=("rank 5 on node2", "in identity", "7 other ranks wait"), has_baseline=False
)


def in_rank(rank):
    if rank == 5:
        on_points(prove_identity_first)


def prove_identity_first(reporter, point):
    """After the devices, where the others all-reduce."""
    if point == "after devices":
        mark("fault")
        reporter.prove_identity()
