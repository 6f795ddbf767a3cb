"""Searches for a slow node, and in the second round waits until the test has cut what it wants to cut; runs as a rank, in the place of diag/pairs.py."""
# SPDX-License-Identifier: Apache-2.0

import os
import sys
import time
from pathlib import Path

from faults import RANK, run_diagnostic

from jaxsif.pairs.measure import PairExchange

FOLDER = Path(os.environ["PAIRS_FOLDER"])
# Small messages, large ones, small ones: the fourth time is in the second round, when the
# two have connected.
SECOND_ROUND = 4

time_trials, times = PairExchange.time_trials, 0


def time_later(*arguments):
    global times
    times += 1
    if times == SECOND_ROUND:
        (FOLDER / f"waits-{RANK}").touch()
        until_s = time.monotonic() + 30
        while not (FOLDER / "cut").exists():
            if time.monotonic() > until_s:
                sys.exit("nothing was cut")
            time.sleep(0.02)
    return time_trials(*arguments)


PairExchange.time_trials = staticmethod(time_later)
sys.argv += os.environ["PAIRS_OPTIONS"].split()
run_diagnostic(sys.argv[0])
