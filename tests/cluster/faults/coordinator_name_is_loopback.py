"""One node resolves the coordinator's name to itself (127.0.1.1 in its hosts file)."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault, hosts_file

FAULT = Fault(
    kind="coordinator-resolves-to-self", ranks=range(4, 8), says=("127.0.1.1",)
)


@contextlib.contextmanager
def around(cluster):
    with hosts_file(cluster, "node2", {"node1": "127.0.1.1"}):
        yield {}
