"""The image is missing on one node."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(
    kind="image-missing",
    ranks=range(4, 8),
    says=("/tmp/node-local.sif",),
    # After the module is loaded, which sets it too.
    options=("--export=ALL,JAX_IMAGE=/tmp/node-local.sif",),
)


@contextlib.contextmanager
def around(cluster):
    cluster.on("node1", "ln", "-sf", cluster.image, "/tmp/node-local.sif")
    try:
        yield {}
    finally:
        cluster.on("node1", "rm", "/tmp/node-local.sif")
