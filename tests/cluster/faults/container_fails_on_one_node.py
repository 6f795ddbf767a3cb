"""The container does not start on one node, because a folder to bind is missing."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(
    kind="container-bind-missing", ranks=range(4, 8), says=("/tmp/only-here",)
)


@contextlib.contextmanager
def around(cluster):
    cluster.on("node1", "mkdir", "/tmp/only-here")
    try:
        yield {"APPTAINER_BIND": "/tmp/only-here"}
    finally:
        cluster.on("node1", "rmdir", "/tmp/only-here")
