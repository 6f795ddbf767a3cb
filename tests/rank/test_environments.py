"""Recorded environments of every launcher: each rank finds its number, its place, its group and its devices, or the message names what is missing."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, TESTS
from fake_nodes import kinds, well

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import Identity
from jaxsif.node import limits
from jaxsif.rank import distributed, launchers
from jaxsif.rank.launchers.machine import LocalHost
from jaxsif.rank.launchers.slurm import as_slurm_env

# How they were made, and where their truth comes from, each file says of itself; most by
# tests/cluster/record_environments.py.
FOLDER = TESTS / "environments"
ENTRY = ROOT / "src/jaxsif/start/entry"
RECORDINGS = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
GOOD = [name for name, r in RECORDINGS.items() if not r["expected"]["error"]]
BAD = [name for name in RECORDINGS if name not in GOOD]
BY_SRUN = ("Slurm", "jax-sif launch")

each_good = pytest.mark.parametrize("name", GOOD)


def environment(rank: dict[str, Any]) -> dict[str, str]:
    # Without it the devices of this machine would be looked at.
    return {"CUDA_VISIBLE_DEVICES": "", **rank["environment"]}


def machine(rank: dict[str, Any]) -> LocalHost:
    """The machine that the rank was recorded on."""
    return LocalHost(
        rank["host_name"],
        full_name=lambda: rank.get("full_name", rank["host_name"]),
        first_line=lambda path: rank.get("host_file"),
        peer_pid=lambda descriptor: rank.get("proxy"),
    )


def identify(rank: dict[str, Any]) -> Identity:
    return launchers.identify(environment(rank), machine(rank))


def coordinator(rank: dict[str, Any]) -> tuple[str, int] | None:
    return launchers.coordinator(environment(rank), identify(rank), machine(rank))


def local_device_ids(rank: dict[str, Any]) -> list[int] | None:
    identity, variables = identify(rank), environment(rank)
    words = as_slurm_env(variables, identity)
    return distributed.local_device_ids(variables, identity, words, {})


def in_entry(rank: dict[str, Any], folder: Path) -> dict[str, str]:
    """What the image's entry sets for this rank."""
    variables = {**environment(rank), "JAX_SIF_MTLS": "off"}
    if rank.get("host_file"):
        (folder / "hosts").write_text(f"{rank['host_file']}\n")
        variables["SLURM_HOSTFILE"] = str(folder / "hosts")
    done = subprocess.run(
        [ENTRY, "env", "-0"],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = (item.partition("=") for item in done.stdout.split("\0") if item)
    return {
        name: value
        for name, _, value in pairs
        # The process's own number is no setting.
        if name.startswith("JAX_") and name not in (*variables, "JAX_SIF_RANK_PID")
    }


def test_there_are_many_and_most_are_recorded_for_real():
    real = [r for r in RECORDINGS.values() if r["source"].startswith("recorded on")]

    assert len(real) >= 30
    assert {
        "Slurm",
        "jax-sif launch",
        "Open MPI",
        "PMIx",
        "PMI",
        "Kubernetes",
        "none",
    } == {r["expected"]["launcher"] for r in RECORDINGS.values()}


@each_good
def test_each_rank_knows_its_number_and_its_place(name):
    recording = RECORDINGS[name]
    ranks = recording["ranks"]

    found = [identify(rank) for rank in ranks]

    count, launcher = len(ranks), recording["expected"]["launcher"]
    places = [(r["expected"]["local_rank"], r["expected"]["node"]) for r in ranks]
    assert [(i, count, *place, launcher) for i, place in enumerate(places)] == [
        (f.rank, f.processes, f.local_rank, f.node, f.launcher) for f in found
    ]


@each_good
def test_each_rank_knows_how_many_are_on_its_node(name):
    ranks = RECORDINGS[name]["ranks"]

    nodes = [rank["expected"]["node"] for rank in ranks]
    assert [nodes.count(node) for node in nodes] == [
        identify(rank).local_processes for rank in ranks
    ]


@each_good
def test_all_ranks_meet_at_one_port_of_the_host_of_rank_0(name):
    recording = RECORDINGS[name]

    found = {coordinator(rank) for rank in recording["ranks"]}

    assert 1 == len(found)
    (where,) = found
    expected = recording["expected"]
    host = None if expected["launcher"] == "none" else expected["coordinator_host"]
    assert host == (where[0] if where else None)
    assert where is None or 1024 <= where[1] < 65536


@each_good
def test_each_rank_has_its_devices(name):
    ranks = RECORDINGS[name]["ranks"]

    assert [rank["expected"]["local_device_ids"] for rank in ranks] == [
        local_device_ids(rank) for rank in ranks
    ]


@each_good
def test_all_ranks_of_a_step_name_it_alike(name):
    assert 1 == len({identify(rank).step for rank in RECORDINGS[name]["ranks"]})


def test_no_two_runs_have_a_name_in_common_and_no_two_of_slurm_a_port():
    # Those without Slurm's variables are the same runs.
    groups = [
        RECORDINGS[name]["ranks"][0]
        for name in GOOD
        if RECORDINGS[name]["expected"]["launcher"] != "none"
        and not name.endswith("-without-slurm")
    ]
    identities = [identify(rank) for rank in groups]

    ports = [
        coordinator(rank)
        for rank, identity in zip(groups, identities, strict=True)
        if identity.launcher == "Slurm"
    ]
    assert len(groups) == len({identity.step for identity in identities})
    assert len(ports) == len({where and where[1] for where in ports})


def documented_port(variables: dict[str, str]) -> int:
    """As docs/entry.md has it."""
    job, step = int(variables["SLURM_JOB_ID"]), int(variables["SLURM_STEP_ID"])
    restart = int(variables.get("SLURM_RESTART_COUNT", "0"))
    return 12288 + (211 * job + step + 7919 * restart) % 20011


@pytest.mark.parametrize(
    "name", [n for n in GOOD if RECORDINGS[n]["expected"]["launcher"] == "Slurm"]
)
def test_under_srun_the_images_entry_makes_the_same_choices(tmp_path, name):
    for rank in RECORDINGS[name]["ranks"]:
        (host_name, port), ids = coordinator(rank) or ("", 0), local_device_ids(rank)

        entry = in_entry(rank, tmp_path)

        assert documented_port(rank["environment"]) == port
        assert str(port) == entry["JAX_COORDINATOR_PORT"]
        assert entry.get("JAX_COORDINATOR_ADDRESS") in (None, f"{host_name}:{port}")
        chosen = distributed.as_variable(ids) if ids else None
        assert chosen == entry.get("JAX_LOCAL_DEVICE_IDS")


@pytest.mark.parametrize(
    "name",
    [n for n, r in RECORDINGS.items() if r["expected"]["launcher"] not in BY_SRUN],
)
def test_elsewhere_the_images_entry_steps_aside(tmp_path, name):
    assert [{}] * len(RECORDINGS[name]["ranks"]) == [
        in_entry(rank, tmp_path) for rank in RECORDINGS[name]["ranks"]
    ]


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_known_is_an_error_that_says_what_to_set(tmp_path, name):
    recording = RECORDINGS[name]
    error = recording["expected"]["error"]

    for rank in recording["ranks"]:
        if error == "not-under-srun":
            words = as_slurm_env(environment(rank), identify(rank))
            found = limits.not_under_srun(well(tmp_path, words))
            assert [("not-under-srun", True)] == kinds(found)
        else:
            with pytest.raises(UsageError, match=error):
                coordinator(rank)
