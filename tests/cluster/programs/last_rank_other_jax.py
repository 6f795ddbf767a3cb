"""The last rank runs another version of JAX; runs as a rank, in the place of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

import sys

import jax
from faults import IS_LAST, run_diagnostic

if IS_LAST:
    jax.__version__ = "0.0.1"
run_diagnostic(sys.argv[0])
