"""Slurm cannot start the tasks of one node: singularity is missing."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(says=("on node2", "singularity"))


@contextlib.contextmanager
def around(cluster):
    cluster.on("node2", "mv", "/usr/bin/singularity", "/usr/bin/singularity.away")
    try:
        yield {}
    finally:
        cluster.on("node2", "mv", "/usr/bin/singularity.away", "/usr/bin/singularity")
