"""The job reaches its time limit: no rank is the cause."""
# SPDX-License-Identifier: Apache-2.0

import time

from fault import Fault, at_point

FAULT = Fault(
    says=("COULD NOT TELL", "Slurm ended the step: time limit", "no rank is the cause"),
    # The verdict's: the script stays until it is written.
    status=3,
    options=("--time=1",),
    # Slurm's limits are minutes, and it looks every half minute.
    within_s=120,
    has_baseline=False,
)


def in_rank(rank):
    at_point("before allreduce", lambda: time.sleep(300))
