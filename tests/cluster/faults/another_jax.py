"""One rank runs a different version of JAX."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(kind="jax-differs", ranks=(5,), says=("0.0.1",), has_baseline=False)


def in_rank(rank):
    if rank == 5:
        import jax

        jax.__version__ = "0.0.1"
