"""Another numpy lies in the user's ~/.local: no fault, the image does not look there."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import PASSES, Fault

FAULT = Fault(says=PASSES, status=0)
FOLDER = "/home/hpc/.local/lib/python3.13/site-packages/numpy"


@contextlib.contextmanager
def around(cluster):
    text = 'raise ImportError("the numpy of the home")'
    cluster.run("sh", "-c", f"mkdir -p {FOLDER}; echo '{text}' > {FOLDER}/__init__.py")
    yield {}
    cluster.run("rm", "-r", FOLDER)
