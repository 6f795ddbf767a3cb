"""The last rank contributes wrong numbers to every sum; in a diagnostic's place."""
# SPDX-License-Identifier: Apache-2.0

import os
import sys
from pathlib import Path

from faults import IS_LAST, run_diagnostic

# This file is mounted over a diagnostic, away from its own folder.
sys.path.insert(0, str(Path(os.environ["JAX_SIF_ROOT"], "tests/cluster/faults")))
from fault import at_point
from wrong_sum import spoil_arrays

if IS_LAST:
    at_point("after connected", spoil_arrays, is_fault=False)
run_diagnostic(sys.argv[0])
