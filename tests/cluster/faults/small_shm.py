"""One node's /dev/shm has 64 MB, the default of container engines."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(says=("on node2", "/dev/shm", "64 MiB"), has_baseline=False)


@contextlib.contextmanager
def around(cluster):
    cluster.on("node2", "mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", "/dev/shm")
    try:
        yield {}
    finally:
        cluster.on("node2", "umount", "/dev/shm")
