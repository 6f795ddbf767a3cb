"""Another program listens on the coordinator's port of the first node."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(
    kind="kit-port-taken",
    ranks=(0,),
    says=("23456",),
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
