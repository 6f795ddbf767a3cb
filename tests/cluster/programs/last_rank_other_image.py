"""The last rank runs in another build of the image; runs as a rank, in the place of a diagnostic."""
# SPDX-License-Identifier: Apache-2.0

import sys

from faults import IS_LAST, run_diagnostic

from jaxsif import image

if IS_LAST:
    image.fingerprint = lambda: "deadbeef"
run_diagnostic(sys.argv[0])
