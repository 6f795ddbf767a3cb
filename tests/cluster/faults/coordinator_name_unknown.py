"""One node cannot resolve the name of the coordinator's node."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault, hosts_file

FAULT = Fault(kind="coordinator-unknown", ranks=range(4, 8), says=("'node1'",))


@contextlib.contextmanager
def around(cluster):
    with hosts_file(cluster, "node2", {"node1": None}):
        yield {}
