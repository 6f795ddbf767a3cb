"""The last rank sends, in all trials, one element that is not what it should be; runs as a rank, in the place of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

import sys

from faults import IS_LAST, run_diagnostic

from jaxsif.bandwidth.programs import TestPattern

if IS_LAST:
    right = TestPattern.input_for

    def spoiled(self, device, trial):
        values = right(self, device, trial)
        return values.at[-1].add(1)

    TestPattern.input_for = spoiled
run_diagnostic(sys.argv[0])
