"""A node's network is cut during a collective."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import time

from fault import Fault, at_point, on_signal

FAULT = Fault(
    says=("on node2", "stopped sending heartbeats"),
    # On a busy machine Slurm may give the node up first, and start the job anew.
    options=("--no-requeue",),
    # Without a judge srun waits until Slurm gives the node up, and the job starts anew.
    has_baseline=False,
)


def in_rank(rank):
    # Every rank waits a moment, so that no rank is through before the cable is out.
    at_point("before allreduce", lambda: time.sleep(3))


@contextlib.contextmanager
def around(cluster):
    def cut():
        cluster.on("node2", "ip", "link", "set", "eth0", "down")

    try:
        with on_signal(cluster, cut):
            yield {}
    finally:
        cluster.on("node2", "ip", "link", "set", "eth0", "up")
        # Slurm asks the node for the job's end again after half a minute only.
        for state in ("down", "resume"):
            update = ("scontrol", "update", "node=node2", f"state={state}")
            # Slurm may have set it down itself, and rejects what is so already.
            cluster.try_on("login", *update, "reason=its network was cut")
        cluster.wait_until_idle()
