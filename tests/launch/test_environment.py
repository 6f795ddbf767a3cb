"""The variables of each rank: those of srun, while those of the user are kept."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from checkout import ROOT

from jaxsif.core.errors import UsageError
from jaxsif.core.topology import parse_topology
from jaxsif.launch import certificates
from jaxsif.launch.environment import (
    Devices,
    LocalJob,
    RankPlacement,
    caller_environment,
    placements,
    rank_environment,
)
from jaxsif.rank import launchers
from jaxsif.rank.launchers.machine import this_machine

ENTRY = ROOT / "src/jaxsif/start/entry"
CPU = Devices("--devices cpu")
JOB = LocalJob(parse_topology("G4N2p4"), CPU, id=77, port=32299, cpus=16)


def of(rank: int, job: LocalJob = JOB, **users: str) -> dict[str, str]:
    return rank_environment(job, placements(job.topology)[rank], users)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (
            "G4N2p4",
            [(0, 0, "node1"), (1, 1, "node1"), (2, 0, "node2"), (3, 1, "node2")],
        ),
        ("G4N1p2", [(0, 0, "node1"), (1, 1, "node1")]),
        ("G2N2p2", [(0, 0, "node1"), (1, 0, "node2")]),
    ],
)
def test_ranks_are_spread_in_blocks_as_slurm_does(label, expected):
    found = [(p.rank, p.local_rank, p.node) for p in placements(parse_topology(label))]

    assert expected == found


@pytest.mark.parametrize("rank", range(4))
def test_the_kit_reads_back_who_each_rank_is(rank):
    found = launchers.identify(of(rank), this_machine())

    assert ("jax-sif launch", "local.77.0.0", rank, 4, rank % 2, 2) == (
        found.launcher,
        found.step,
        found.rank,
        found.processes,
        found.local_rank,
        found.local_processes,
    )
    assert (f"node{rank // 2 + 1}", "node[1-2]") == (found.node, found.node_list)


def test_numbers_that_slurm_writes_in_short_are_written_so():
    several = of(3)
    single = of(1, replace(JOB, topology=parse_topology("G2N1p2")))

    assert ("node[1-2]", "2(x2)", "8(x2)", "2,3") == (
        several["SLURM_STEP_NODELIST"],
        several["SLURM_STEP_TASKS_PER_NODE"],
        several["SLURM_JOB_CPUS_PER_NODE"],
        several["SLURM_GTIDS"],
    )
    assert ("node1", "2", "16", "0,1") == (
        single["SLURM_STEP_NODELIST"],
        single["SLURM_STEP_TASKS_PER_NODE"],
        single["SLURM_JOB_CPUS_PER_NODE"],
        single["SLURM_GTIDS"],
    )


def test_every_rank_has_a_processor_also_where_there_are_fewer():
    assert "1" == of(0, replace(JOB, cpus=2))["SLURM_CPUS_PER_TASK"]


def test_variables_of_a_launcher_around_this_one_do_not_leak():
    around = {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_RESV_PORTS": "61001",
        "SLURMD_DEBUG": "2",
        "PMI_RANK": "1",
        "PMIX_RANK": "1",
        "OMPI_COMM_WORLD_RANK": "1",
        "HOME": "/home/user",
    }

    assert {"HOME": "/home/user"} == caller_environment(around)


def test_within_a_step_its_own_group_and_devices_are_not_inherited():
    users = {"JAX_COORDINATOR_ADDRESS": "gpu01:5555", "JAX_LOCAL_DEVICE_IDS": "1"}

    assert users == caller_environment(users)
    assert {} == caller_environment({**users, "SLURM_STEP_NODELIST": "gpu[01-02]"})


def test_the_group_meets_on_the_loopback_because_the_nodes_have_no_address():
    first, other = of(0), of(2)

    assert "127.0.0.1:32299" == first["JAX_COORDINATOR_ADDRESS"]
    assert "127.0.0.1:32299" == other["JAX_COORDINATOR_ADDRESS"]


def test_nothing_is_set_that_comes_before_an_argument_of_the_programs():
    # JAX binds this address also where the program names another coordinator.
    assert "JAX_COORDINATOR_BIND_ADDRESS" not in of(0)


def test_an_address_or_a_port_of_the_user_stays():
    address = of(0, JAX_COORDINATOR_ADDRESS="10.0.0.1:99")
    port = of(0, JAX_COORDINATOR_PORT="5555")

    assert "10.0.0.1:99" == address["JAX_COORDINATOR_ADDRESS"]
    assert "127.0.0.1:5555" == port["JAX_COORDINATOR_ADDRESS"]


def test_certificates_are_named_for_every_rank_or_switched_off():
    some = replace(JOB, certificates={"JAX_MTLS_CERT_FILE": "/proc/1/fd/300"})

    assert "off" == of(0)["JAX_SIF_MTLS"]
    assert "/proc/1/fd/300" == of(3, some)["JAX_MTLS_CERT_FILE"]
    assert "JAX_SIF_MTLS" not in of(0, some)
    assert (
        "mine.pem" == of(0, some, JAX_MTLS_CERT_FILE="mine.pem")["JAX_MTLS_CERT_FILE"]
    )
    assert "JAX_SIF_MTLS" not in of(0, JAX_MTLS_CERT_FILE="mine.pem")


def test_a_group_without_certificates_is_announced_and_refused_where_required():
    assert "no cryptography" in certificates.warning("no cryptography", {})
    with pytest.raises(UsageError, match="no cryptography"):
        certificates.warning("no cryptography", {"JAX_SIF_MTLS": "required"})


@pytest.mark.parametrize(
    ("users", "processes", "is_asked"),
    [
        ({}, 2, True),
        ({"JAX_SIF_MTLS": "required"}, 2, True),
        ({"JAX_SIF_MTLS": "required"}, 1, False),
        ({"JAX_SIF_MTLS": "off"}, 2, False),
        ({"JAX_MTLS_CERT_FILE": "mine.pem"}, 2, False),
    ],
)
def test_who_chose_or_is_alone_needs_none(users, processes, is_asked):
    assert is_asked == certificates.is_needed(users, processes)


def test_the_launcher_holds_the_certificates_that_the_ranks_read():
    made = certificates.make("local.7.0.0", "127.0.0.1")
    file = made["JAX_MTLS_KEY_FILE"]
    try:
        assert 3 == Path(file).read_text().count("BEGIN ")
        assert "spiffe://jax-sif/local.7.0.0/" == made["JAX_MTLS_PEER_URI_PREFIX"]
    finally:
        os.close(int(file.rpartition("/")[2]))


def test_cpu_devices_stand_in_for_the_gpus_of_a_process():
    job = replace(JOB, topology=parse_topology("G8N2p4"))

    found = of(1, job, CUDA_VISIBLE_DEVICES="0,1")

    assert ("cpu", "2", "cpu", "") == (
        found["JAX_PLATFORMS"],
        found["JAX_NUM_CPU_DEVICES"],
        found["JAX_SIF_PLATFORM"],
        found["CUDA_VISIBLE_DEVICES"],
    )
    assert "SLURM_STEP_GPUS" not in found


def test_what_the_mini_cluster_chose_for_its_batch_script_is_not_the_users():
    lent = {"JAX_NUM_CPU_DEVICES": "4", "MINICLUSTER_CPU_DEVICES": "4"}
    chosen = {"JAX_NUM_CPU_DEVICES": "2", "MINICLUSTER_CPU_DEVICES": "4"}

    assert {} == caller_environment(lent)
    assert {"JAX_NUM_CPU_DEVICES": "2"} == caller_environment(chosen)


def test_an_empty_variable_is_no_choice_but_for_pythons_buffering():
    found = of(0, JAX_PLATFORMS="", JAX_COORDINATOR_ADDRESS="", PYTHONUNBUFFERED="")

    assert ("cpu", "127.0.0.1:32299", "") == (
        found["JAX_PLATFORMS"],
        found["JAX_COORDINATOR_ADDRESS"],
        found["PYTHONUNBUFFERED"],
    )


def test_one_nodes_gpus_are_shared_out_after_the_other():
    job = replace(JOB, devices=Devices("enough", ("0", "1", "4", "GPU-5")))

    assert ["0,1", "0,1", "4,GPU-5", "4,GPU-5"] == [
        of(rank, job)["CUDA_VISIBLE_DEVICES"] for rank in range(4)
    ]
    assert ("2", "2") == (
        of(0, job)["SLURM_GPUS_ON_NODE"],
        of(0, job)["SLURM_GPUS_PER_NODE"],
    )
    assert "JAX_PLATFORMS" not in of(0, job)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("G4N2p4", ["0", "1", "0", "1"]),
        ("G4N2p2", ["0,1", "0,1"]),
        ("G4N1p2", ["0,1", "2,3"]),
    ],
)
def test_the_entry_gives_each_rank_its_own_gpus_of_its_node(label, expected):
    devices = Devices("enough", ("0", "1", "2", "3"))
    topology = parse_topology(label)
    job = replace(JOB, topology=topology, devices=devices)

    found = [_through_entry(job, place) for place in placements(job.topology)]

    assert expected == found


def _through_entry(job: LocalJob, place: RankPlacement) -> str:
    script = 'echo "$JAX_LOCAL_DEVICE_IDS"'
    users = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["/bin/sh", str(ENTRY), "sh", "-c", script],
        env=rank_environment(job, place, users),
        capture_output=True,
        text=True,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.strip()
