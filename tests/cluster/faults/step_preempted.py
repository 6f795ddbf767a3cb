"""All ranks get SIGTERM, as before a preemption: no rank is the cause."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import time

from fault import Fault, at_point, on_signal

FAULT = Fault(says=("COULD NOT TELL", "no rank is the cause"), status=3)


def in_rank(rank):
    at_point("before allreduce", lambda: time.sleep(30))


def terminate_steps(cluster):
    cluster.run("scancel", "--signal=TERM", "--user=hpc")


@contextlib.contextmanager
def around(cluster):
    with on_signal(cluster, lambda: terminate_steps(cluster)):
        yield {}
