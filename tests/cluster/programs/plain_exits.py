"""A program that does not use the kit and ends in one rank with a status of its own, while the others go on."""
# SPDX-License-Identifier: Apache-2.0

import os
import sys
import time

if os.environ["SLURM_PROCID"] == "3":
    sys.exit(7)
time.sleep(120)
