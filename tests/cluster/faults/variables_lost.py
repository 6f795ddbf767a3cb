"""Slurm's variables do not reach the program: each rank runs alone."""
# SPDX-License-Identifier: Apache-2.0

import os

from fault import Fault

FAULT = Fault(says=("rank 0 on node", "started 8 times, each time as the only process"))


def in_rank(rank):
    for name in list(os.environ):
        if name.startswith(("SLURM", "JAX_COORD", "JAX_MTLS")):
            del os.environ[name]
