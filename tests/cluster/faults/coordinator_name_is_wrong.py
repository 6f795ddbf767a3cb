"""One node resolves the coordinator's name to an unused address."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault, hosts_file

FAULT = Fault(kind="coordinator-unreachable", ranks=range(4, 8), says=("10.77.9.9",))


@contextlib.contextmanager
def around(cluster):
    with hosts_file(cluster, "node2", {"node1": "10.77.9.9"}):
        yield {}
