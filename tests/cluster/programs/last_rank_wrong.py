"""The last rank contributes wrong numbers to every sum; runs as a rank, in the place of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

import sys

import numpy as np
from faults import IS_LAST, run_diagnostic

from jaxsif.core.slurm_env import Identity

if IS_LAST:
    right = Identity.token
    Identity.token = lambda self, *place: right(self, *place) ^ (place[0] == self.rank)
    np.ones = lambda *arguments: np.full(*arguments[:1], 2, *arguments[1:])
run_diagnostic(sys.argv[0])
