"""The job is cancelled: no rank is the cause."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import time

from fault import Fault, at_point, on_signal

FAULT = Fault(
    kind="cancelled",
    # The verdict's: the script stays until it is written.
    status=3,
    has_baseline=False,
)


def in_rank(rank):
    at_point("before allreduce", lambda: time.sleep(5))


@contextlib.contextmanager
def around(cluster):
    with on_signal(cluster, lambda: cluster.run("scancel", "--user=hpc")):
        yield {}
