"""The last rank contributes wrong numbers to every sum; in a diagnostic's place."""
# SPDX-License-Identifier: Apache-2.0

import sys
from pathlib import Path

from faults import IS_LAST, run_diagnostic

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from fault import at_point
from wrong_sum import spoil_arrays

if IS_LAST:
    at_point("after connected", spoil_arrays, is_fault=False)
run_diagnostic(sys.argv[0])
