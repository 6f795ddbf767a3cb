"""Finds slow nodes: pairs of nodes exchange data at the same time, round by round."""
# SPDX-License-Identifier: Apache-2.0

import argparse

from jaxsif import initialize_distributed
from jaxsif.rank import phase_reporter

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "--all-pairs", action="store_true", help="every node with every other"
)
parser.add_argument("--size-bytes", type=int, help="per device, 64 MiB on GPUs")
parser.add_argument("--trials", type=int, default=5, help="for each pair and size")
parser.add_argument(
    "--timeout", type=float, default=60, metavar="SECONDS", help="of a partner"
)
chosen = parser.parse_args()

with phase_reporter() as reporter:
    initialize_distributed()
    # Import JAX only here: initialize_distributed() first reports anything that would
    # make the import fail.
    import jax

    from jaxsif.pairs import measure
    from jaxsif.pairs.coordinator import partner_timeout
    from jaxsif.rank.identity_check import sum_of_ones

    reporter.devices()

    # Correctness first: verify the peers, then measure.
    reporter.enters("allreduce")
    reporter.report_allreduce(sum_of_ones())
    reporter.prove_identity()
    reporter.transport()

    specs = measure.message_specs(
        jax.default_backend(), chosen.size_bytes, chosen.trials
    )
    timeout_s = partner_timeout(chosen.timeout)
    measure.run_search(reporter, specs, is_full=chosen.all_pairs, timeout_s=timeout_s)
