"""PYTHONPATH contains a different numpy."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import Fault

FAULT = Fault(
    kind="host-packages-visible", ranks=range(4), says=("numpy", "PYTHONPATH")
)
FOLDER = "/home/hpc/shadow"


@contextlib.contextmanager
def around(cluster):
    cluster.run(
        "sh", "-c", f"mkdir -p {FOLDER}/numpy; touch {FOLDER}/numpy/__init__.py"
    )
    yield {"PYTHONPATH": FOLDER}
    cluster.run("rm", "-r", FOLDER)
