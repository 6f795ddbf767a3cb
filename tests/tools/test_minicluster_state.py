"""The folder of a mini cluster: what in it the cluster may remove, and what is a user's."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from checkout import ROOT

MINICLUSTER = ROOT / "minicluster"
sys.path.append(str(MINICLUSTER))


def _by_path(name: str, path: Path):
    """A module by its path: tests/cluster has one of the same name."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cluster = _by_path("minicluster_cluster", MINICLUSTER / "cluster.py")
State, UsageError = cluster.State, cluster.UsageError


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    """A user's folder, with names in it that a cluster uses, too."""
    for name in ("log", "home", "configuration", "nodes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("mine")
    return tmp_path


@pytest.mark.parametrize("purge", [False, True])
def test_a_folder_that_no_cluster_made_is_left_alone(homes, purge):
    with pytest.raises(UsageError, match="new or empty"):
        cluster.down(State(homes, homes), purge)

    assert 4 == len([*homes.glob("*/file")])
    assert not (homes / "lock").exists()


def test_a_cluster_is_started_in_no_such_folder(homes, tmp_path):
    with pytest.raises(UsageError):
        cluster.up(State(homes, homes), None, tmp_path)

    assert 4 == len([*homes.glob("*/file")])


@pytest.mark.parametrize("is_there", [False, True])
def test_a_new_or_empty_folder_is_taken(tmp_path, is_there):
    folder = tmp_path / "state"
    if is_there:
        folder.mkdir()
    state = State(folder, folder)
    for _ in range(2):
        with cluster._one_at_a_time(state):
            (folder / "home").mkdir(exist_ok=True)
