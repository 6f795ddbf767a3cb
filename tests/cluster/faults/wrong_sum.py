"""One rank's device computes wrongly."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault, at_point

FAULT = Fault(says=("foreign contribution", "rank 5 on node2"), has_baseline=False)


def in_rank(rank):
    if rank == 5:
        at_point("after connected", spoil_arrays)


def spoil_arrays():
    """All that this rank contributes is twice what it should be."""
    import jax

    right = jax.make_array_from_process_local_data
    jax.make_array_from_process_local_data = lambda sharding, data, *more: right(
        sharding, 2 * data, *more
    )
