"""The last rank raises an exception in the middle; runs as a rank, in the place of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

import sys

import jax
from faults import IS_LAST, run_diagnostic

if IS_LAST:
    jax.device_count = lambda: 1 // 0
run_diagnostic(sys.argv[0])
