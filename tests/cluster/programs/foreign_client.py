"""Joins another job's group as its last rank: `foreign_client.py HOST:PORT PROCESSES`; runs as another job or user, in the container."""
# SPDX-License-Identifier: Apache-2.0

import resource
import sys

import jax

# It is meant to abort, without a core dump.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
address, processes = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(
    address, processes, processes - 1, initialization_timeout=4, local_device_ids=[0]
)
