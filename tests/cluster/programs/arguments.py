"""Prints its arguments, one line a rank, as JSON; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import json
import sys

print(json.dumps(sys.argv[1:]))
