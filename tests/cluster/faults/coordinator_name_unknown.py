"""One node cannot resolve the name of the coordinator's node."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault, hosts_file

FAULT = Fault(says=("on node2", "'node1'", "cannot be resolved on node2"))


@contextlib.contextmanager
def around(cluster):
    with hosts_file(cluster, "node2", {"node1": None}):
        yield {}
