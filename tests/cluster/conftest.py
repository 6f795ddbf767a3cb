"""What the tests of this folder share: the cluster, or the reason why there is none; runs on the machine that has it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cluster import IMAGE, MINICLUSTER, Cluster
from packages import packages

sys.path.append(str(MINICLUSTER.parent))
from state import STATE_KNOB, default_folder

# Set if pytest runs several processes. Each has a cluster, so that jobs do not wait for
# each other and no fault meets another.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if _WORKER:
    _STATE = os.environ.get(STATE_KNOB) or str(default_folder())
    os.environ[STATE_KNOB] = f"{_STATE}-{_WORKER}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The running mini cluster with the CPU image; `make test` sets both up."""
    if _WORKER:
        subprocess.run([MINICLUSTER, "up"])
    missing = _what_is_missing()
    if missing and os.environ.get("JAX_SIF_CLUSTER_TESTS") == "required":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    yield Cluster()
    if _WORKER:
        subprocess.run([MINICLUSTER, "down", "--purge"], check=True)


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
