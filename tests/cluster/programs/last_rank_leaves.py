"""The last rank ends before it has said a word; runs as a rank, in the place of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

import sys

from faults import IS_LAST, run_diagnostic

if IS_LAST:
    sys.exit(9)
run_diagnostic(sys.argv[0])
