"""Lets pairs of nodes exchange data, all at the same time and round by round, until the slow node is found; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import argparse

from jaxsif import initialize_distributed
from jaxsif.rank import narrate

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--full", action="store_true", help="every node with every other")
parser.add_argument("--size-bytes", type=int, help="per device, 64 MiB on GPUs")
parser.add_argument("--trials", type=int, default=5, help="for each pair and size")
parser.add_argument(
    "--answer-within", type=float, default=60, metavar="SECONDS", help="of a partner"
)
chosen = parser.parse_args()

with narrate() as tell:
    initialize_distributed()
    # Not before: what would keep JAX from its import is told by the line above.
    import jax

    from jaxsif.pairs import measure
    from jaxsif.pairs.timeout import patience_for
    from jaxsif.rank.identity_check import sum_of_ones

    tell.devices()

    # First right, then fast: a sum over all devices, and whose ones they were.
    tell.enters("allreduce")
    tell.all_reduced(sum_of_ones())
    tell.prove_identity()
    tell.transport()

    loads = measure.loads_for(jax.default_backend(), chosen.size_bytes, chosen.trials)
    answers_s = patience_for(chosen.answer_within)
    measure.search(tell, loads, is_full=chosen.full, answers_s=answers_s)
