"""Measures how fast all devices exchange data, from bytes to a gibibyte, and checks every element; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import sys

from jaxsif import initialize_distributed
from jaxsif.bandwidth.plan import parse_plan
from jaxsif.rank import narrate

with narrate() as tell:
    plan = parse_plan(sys.argv[1:])
    initialize_distributed()
    # Not before: what would keep JAX from its import is told by the line above.
    from jaxsif.bandwidth.measure import measure
    from jaxsif.rank.fabric import tell_fabric
    from jaxsif.rank.identity_check import sum_of_ones

    tell.devices()
    tell_fabric(tell)

    # Right, then fast: first who the peers are, then how fast they are.
    tell.enters("allreduce")
    tell.all_reduced(sum_of_ones())
    tell.prove_identity()
    tell.transport()

    measure(tell, plan)
