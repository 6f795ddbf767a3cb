"""slurmstepd hangs on a node after all ranks are done, so srun does not end."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import time

from fault import Fault, at_point, on_signal

# As long as the ranks may take for their end, and then some: see docs/verdict.md.
FAULT = Fault(kind="launcher-hangs", within_s=45, has_baseline=False)


def in_rank(rank):
    # No rank has ended before the daemon is stopped.
    at_point("after done", lambda: time.sleep(4))


@contextlib.contextmanager
def around(cluster):
    def hang(sign):
        cluster.try_on("node2", "pkill", sign, "slurmstepd")

    try:
        with on_signal(cluster, lambda: hang("-STOP")):
            yield {}
    finally:
        hang("-CONT")
        cluster.wait_until_idle()
