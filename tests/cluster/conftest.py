"""What the tests of this folder share: the cluster, or the reason why there is none; runs on the machine that has it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess

import pytest
from cluster import CHECKOUT, IMAGE, MINICLUSTER, Cluster
from packages import packages

__all__ = ["CHECKOUT", "IMAGE", "MINICLUSTER"]


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The running mini cluster with the CPU image; `make test` sets both up."""
    missing = _what_is_missing()
    if missing and os.environ.get("JAX_SIF_CLUSTER_TESTS") == "required":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return Cluster()


@pytest.fixture(scope="session")
def env(cluster: Cluster) -> str:
    """The file of packages that the examples need; made once for an image."""
    return packages(cluster)


def _what_is_missing() -> str:
    if not IMAGE.is_file():
        return f"no image {IMAGE.name}: make build-image ACCEL=cpu BASE=local"
    status = subprocess.run([MINICLUSTER, "status"], capture_output=True, text=True)
    if status.returncode:
        return f"the mini cluster is not up: {status.stdout}{status.stderr}"
    return ""
