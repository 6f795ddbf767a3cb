"""Create the packages of the examples as a user does: `jax-sif packages create`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib

import example_wheels
from cluster import Cluster

MAKE = """cd; [ -e "$3" ] && exit
module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"
rm -f examples-*.sqsh
jax-sif packages create "$3" --no-index --find-links "$4" --requirement "$5"
"""


def packages(cluster: Cluster) -> str:
    """The file, in the home of the cluster's user; made once for an image.

    The login node has no network, so the wheels are fetched by this machine.
    """
    wheels = example_wheels.fetch()
    stat = cluster.image.stat()
    image = f"{stat.st_size}-{stat.st_mtime_ns}-{wheels.name}"
    file = f"/home/hpc/examples-{hashlib.sha256(image.encode()).hexdigest()[:12]}.sqsh"
    requirements = cluster.checkout / "requirements/examples.txt"
    words = (cluster.checkout, cluster.module, file, wheels, requirements)
    done = cluster.bash(MAKE, *map(str, words), limit_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return file
