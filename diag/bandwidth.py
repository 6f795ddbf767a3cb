"""Measures collective bandwidth, from bytes to a gibibyte, and checks every element."""
# SPDX-License-Identifier: Apache-2.0

import sys

from jaxsif import initialize_distributed
from jaxsif.bandwidth.plan import parse_plan
from jaxsif.rank import phase_reporter

with phase_reporter() as reporter:
    plan = parse_plan(sys.argv[1:])
    initialize_distributed()
    # Import JAX only here: initialize_distributed() first reports anything that would
    # make the import fail.
    from jaxsif.bandwidth.fabric import report_hardware
    from jaxsif.bandwidth.measure import measure
    from jaxsif.rank.identity_check import sum_of_ones

    reporter.devices()
    report_hardware(reporter)

    # Correctness first: verify the peers, then measure.
    reporter.enters("allreduce")
    reporter.report_allreduce(sum_of_ones())
    reporter.prove_identity()
    reporter.transport()

    measure(reporter, plan)
