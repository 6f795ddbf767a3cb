"""The program is started without srun in an allocation of several tasks."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(says=("rank 0 on node1", "srun"))

# Stands in the place of srun and leaves out what it is for.
IN_THE_PLACE = """#!/bin/sh
while [ "$1" != singularity ]; do shift; done
exec "$@"
"""


@contextlib.contextmanager
def around(cluster):
    cluster.run(
        "sh",
        "-c",
        "mkdir -p ~/without; cat > ~/without/srun; chmod +x ~/without/srun",
        text_in=IN_THE_PLACE,
    )
    yield {"PATH": "/home/hpc/without:/usr/local/bin:/usr/bin:/bin"}
    cluster.run("rm", "-r", "/home/hpc/without")
