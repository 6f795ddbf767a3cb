"""What a program learns of its group: its own numbers, and no topology that is not true."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from checkout import SRC

from jaxsif import DistributedInfo
from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import Identity
from jaxsif.rank.distributed import distributed_info

RANK_3 = Identity("s", 3, 8, 3, "node1", "node[1-2]", local_processes=4)


@pytest.fixture
def devices(monkeypatch):
    """A stand-in for JAX that counts devices: those of this process, and all."""

    def set_to(local: int, everywhere: int) -> None:
        jax = SimpleNamespace(
            local_device_count=lambda: local, device_count=lambda: everywhere
        )
        monkeypatch.setitem(sys.modules, "jax", jax)

    return set_to


def info_of(identity: Identity = RANK_3, topology: str = "G8N2p8") -> DistributedInfo:
    return distributed_info(identity, ("node1", 12345), {"JAX_SIF_TOPOLOGY": topology})


def test_it_says_in_a_line_who_this_is(devices):
    devices(1, 8)

    assert "process 3 of 8 on node1, local devices 1, global devices 8" == str(
        info_of()
    )


def test_it_contains_the_launchers_data():
    info = info_of()

    assert (3, 8, 3, "node1", "node1:12345", False, "Slurm") == (
        info.process_id,
        info.num_processes,
        info.local_process_id,
        info.node,
        info.coordinator_address,
        info.is_coordinator,
        info.launcher,
    )


def test_devices_are_counted_when_they_are_asked_for(devices):
    info = info_of()
    devices(4, 32)

    assert (4, 32) == (info.local_device_count, info.global_device_count)


def test_a_matching_topology_is_returned(devices):
    devices(1, 8)

    topology = info_of().topology

    assert topology and "G8N2p8" == topology.label


@pytest.mark.parametrize(
    ("label", "local", "everywhere"),
    [
        ("", 1, 8),
        # Other processes, other devices here or elsewhere, other nodes.
        ("G4N2p4", 1, 8),
        ("G8N2p8", 2, 16),
        ("G8N2p8", 1, 7),
        ("G8N1p8", 1, 8),
    ],
)
def test_a_topology_that_differs_is_not_returned(devices, label, local, everywhere):
    devices(local, everywhere)

    assert None is info_of(topology=label).topology


def test_without_the_launchers_nodes_processes_and_devices_count(
    devices,
):
    devices(1, 8)
    by_mpi = Identity("s", 3, 8, 3, "node1", "node1", launcher="Open MPI")

    assert info_of(by_mpi).topology


def test_a_topology_that_is_none_is_an_error():
    with pytest.raises(UsageError, match="unknown topology 'eight'"):
        info_of(topology="eight")


def test_a_program_alone_has_no_coordinator_to_name(devices):
    devices(2, 2)
    alone = Identity("local.0.0.0", 0, 1, 0, "laptop", "laptop", launcher="none")

    info = distributed_info(alone, None, {})

    assert (None, True) == (info.coordinator_address, info.is_coordinator)
    assert "process 0 of 1 on laptop, local devices 2, global devices 2" == str(info)


def test_its_name_can_be_had_without_jax():
    program = (
        "import sys; from jaxsif import DistributedInfo; print('jax' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "False\n" == done.stdout
