"""Shows a progress bar by carriage returns, and prints nothing else; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import sys
import time

from _group import RANK, add_up, end_well, join

join()
for percent in range(0, 101, 2):
    if RANK == 0:
        sys.stderr.write(f"\r{percent:3d}%|{'#' * (percent // 4):25}| 3.1 it/s")
        sys.stderr.flush()
    time.sleep(0.05)
add_up()
end_well()
