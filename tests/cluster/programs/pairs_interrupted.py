"""Searches for a slow node; in round two it waits until the test has cut a connection."""
# SPDX-License-Identifier: Apache-2.0

# Runs as a rank, in the place of diag/pairs.py.

import os
import sys
import time
from pathlib import Path

from faults import RANK, on_points, run_diagnostic

FOLDER = Path(os.environ["PAIRS_FOLDER"])
# One at the start; in each round one, and one before small, large and small messages. So
# before the large ones of the second round, when the two have connected.
IN_SECOND_ROUND = 8

times = 0


def wait_in_second_round(reporter, point):
    global times
    times += point == "before pairs"
    if times == IN_SECOND_ROUND and point == "before pairs":
        (FOLDER / f"waits-{RANK}").touch()
        until_s = time.monotonic() + 30
        while not (FOLDER / "cut").exists():
            if time.monotonic() > until_s:
                sys.exit("nothing was cut")
            time.sleep(0.02)


on_points(wait_in_second_round)
sys.argv += os.environ["PAIRS_OPTIONS"].split()
run_diagnostic(sys.argv[0])
