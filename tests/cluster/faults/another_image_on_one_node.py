"""One node has a different build of the image."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(kind="image-differs", ranks=range(4, 8), has_baseline=False)


@contextlib.contextmanager
def around(cluster):
    for node in ("node1", "node2"):
        words = f'{{"name": "of {node}"}}'
        cluster.on(node, "sh", "-c", f"echo '{words}' > /tmp/image.json")
    try:
        yield {"APPTAINER_BIND": "/tmp/image.json:/opt/jax-sif/image.json"}
    finally:
        for node in ("node1", "node2"):
            cluster.on(node, "rm", "/tmp/image.json")
