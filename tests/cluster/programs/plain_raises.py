"""A program that does not use the kit and ends in an exception in one rank, while the others go on."""
# SPDX-License-Identifier: Apache-2.0

import os
import time

if os.environ["SLURM_PROCID"] == "2":
    raise ValueError("no such data")
time.sleep(120)
