"""Another program listens on the coordinator's port of the first node."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(
    says=(
        "rank 0 on node1",
        "port 23456, on which this step's coordinator would listen, is in use",
    ),
    environment={"JAX_COORDINATOR_PORT": "23456"},
)

LISTENER = """
import socket, time
listener = socket.create_server(("0.0.0.0", 23456))
time.sleep(60)
"""


@contextlib.contextmanager
def around(cluster):
    with cluster.in_background("node1", "python3", "-c", LISTENER):
        yield {}
