"""No rank initialises the distributed system; runs as a rank, in the place of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

import sys

import jax
from faults import run_diagnostic

jax.distributed.initialize = lambda **settings: None
run_diagnostic(sys.argv[0])
