"""The last rank contributes wrong numbers to every sum; in a diagnostic's place."""
# SPDX-License-Identifier: Apache-2.0

import sys

from faults import IS_LAST, at_point, run_diagnostic
from wrong_sum import spoil_arrays

if IS_LAST:
    at_point("after connected", spoil_arrays, is_fault=False)
run_diagnostic(sys.argv[0])
