"""The user's ~/.local contains a different numpy: no fault, the image does not use it."""
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
