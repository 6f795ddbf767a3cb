"""Measures how fast all devices exchange data, from bytes to a gibibyte, and checks every element; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import sys

from jaxsif import initialize_distributed
from jaxsif.bandwidth.plan import parse_plan
from jaxsif.rank import phase_reporter

with phase_reporter() as reporter:
    plan = parse_plan(sys.argv[1:])
    initialize_distributed()
    # Not before: what would keep JAX from its import is told by the line above.
    from jaxsif.bandwidth.measure import measure
    from jaxsif.rank.fabric import report_hardware
    from jaxsif.rank.identity_check import sum_of_ones

    reporter.devices()
    report_hardware(reporter)

    # Right, then fast: first who the peers are, then how fast they are.
    reporter.enters("allreduce")
    reporter.report_allreduce(sum_of_ones())
    reporter.prove_identity()
    reporter.transport()

    measure(reporter, plan)
