"""No rank initialises the distributed system; runs as a rank, in the place of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

import sys

import jax
from faults import run_diagnostic

from jaxsif import rank

jax.distributed.initialize = lambda **settings: None
rank.wait_for_coordinator = lambda: False
run_diagnostic(sys.argv[0])
