"""Slurm cannot start the tasks of one node: singularity is missing."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(kind="slurm-program-missing", ranks=range(4, 8), says=("singularity",))


@contextlib.contextmanager
def around(cluster):
    cluster.on("node2", "mv", "/usr/bin/singularity", "/usr/bin/singularity.away")
    try:
        yield {}
    finally:
        cluster.on("node2", "mv", "/usr/bin/singularity.away", "/usr/bin/singularity")
