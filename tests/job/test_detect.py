"""The draft of a site, from what nodes of several kinds say of themselves."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import stat
import subprocess

import pytest
from checkout import ROOT

from jaxsif.core.errors import CouldNotTell
from jaxsif.job import configs, detect
from jaxsif.job.schema import Site

FACTS = ROOT / "bin/site-facts"

GPU = "partition|gpu*|2|16|512000|gpu:a100:4|a100"
CPU = "partition|cpu*|100|128|256000|(null)|rome"
PORT = "port|/sys/class/infiniband/mlx5_{n}/ports/1|"


def port(number: int, state: str, rate: str = "200 Gb/sec (4X HDR)") -> list[str]:
    name = PORT.format(n=number)
    return [
        f"{name}state|{state}",
        f"{name}link_layer|InfiniBand",
        f"{name}rate|{rate}",
    ]


def site(tmp_path, *facts: str) -> tuple[Site, str]:
    """The draft as the library reads it, and as people do."""
    text = detect.draft("\n".join(["host|login1", *facts]))
    path = tmp_path / "draft.yaml"
    path.write_text(text)
    return configs.read(Site, path), text


def test_a_gpu_cluster_is_drafted_with_a_reason_for_each_value(tmp_path):
    drafted, text = site(tmp_path, GPU, "runtime|apptainer")

    assert ("gpu", "a100", 4) == (
        drafted.gpus.partition,
        drafted.gpus.type,
        drafted.node.gpus,
    )
    assert (16, "512000M") == (drafted.node.cpus, drafted.node.memory)
    values = [x for x in text.splitlines() if ": " in x and x.lstrip()[0] != "#"]
    reasons = [x for x in text.splitlines() if x.lstrip().startswith("# ")]
    # Three lines say what the file is.
    assert len(values) == len(reasons) - 3


def test_gpus_are_asked_for_where_most_of_them_are(tmp_path):
    drafted, text = site(
        tmp_path,
        CPU,
        "partition|gpu|20|64|512000+|gpu:a100:4(S:0-1)|a100",
        "partition|debug|1|64|512000|gpu:a100:4|a100",
    )

    assert "gpu" == drafted.gpus.partition
    assert "has most of the nodes with GPUs (20); others: debug" in text


def test_several_types_of_gpu_are_named_and_only_nodes_of_one_are_counted(tmp_path):
    drafted, text = site(
        tmp_path,
        "partition|gpu|20|64|512000|gpu:a100:4|a100",
        "partition|gpu|5|32|256000|gpu:h100:8|h100",
    )

    assert ("a100", 4, 64) == (
        drafted.gpus.type,
        drafted.node.gpus,
        drafted.node.cpus,
    )
    assert "the first of several: a100, h100" in text


def test_an_old_scheduler_is_asked_with_gres(tmp_path):
    drafted, text = site(tmp_path, GPU, "config|SelectType|select/cons_res")

    assert "gres" == drafted.gpus.request
    assert "select/cons_res does not support --gpus-per-node" in text


def test_a_needed_account_is_left_to_be_filled_in(tmp_path):
    drafted, _ = site(
        tmp_path, GPU, "config|AccountingStorageEnforce|associations,limits"
    )

    assert "YOUR-PROJECT" == drafted.account


@pytest.mark.parametrize(
    ("facts", "network", "reason"),
    [
        ([], "unknown", "no RDMA port; seen on login1; compute nodes may differ"),
        (port(0, "1: DOWN"), "unknown", "1 RDMA ports, none active"),
        (
            [*port(0, "4: ACTIVE"), *port(1, "4: ACTIVE"), *port(2, "1: DOWN")],
            "infiniband",
            "2 active of 3 RDMA ports (2 x InfiniBand 200 Gb/sec (4X HDR))",
        ),
        (
            ["slingshot|/sys/class/cxi/cxi0"],
            "slingshot",
            "/sys/class/cxi/cxi0 found",
        ),
    ],
)
def test_the_network_is_what_its_cards_say(tmp_path, facts, network, reason):
    drafted, text = site(tmp_path, GPU, *facts)

    assert network == drafted.network
    assert reason in text


@pytest.mark.parametrize(
    ("programs", "runtime"),
    [
        (["singularity"], "apptainer"),
        (["podman-hpc"], "podman-hpc"),
        (["pyxis", "enroot"], "pyxis"),
        ([], "apptainer"),
    ],
)
def test_the_runtime_is_one_that_is_there(tmp_path, programs, runtime):
    drafted, _ = site(tmp_path, GPU, *[f"runtime|{name}" for name in programs])

    assert runtime == drafted.runtime


def test_folders_that_are_there_are_named(tmp_path):
    drafted, _ = site(tmp_path, GPU, "scratch|/work/me", "folder|/local")

    assert ("/work/me", "/local") == (drafted.scratch, drafted.local_disk)


def test_a_cluster_without_gpus_says_so(tmp_path):
    drafted, text = site(tmp_path, CPU)

    assert 0 == drafted.node.gpus
    assert "sinfo shows no GPUs" in text


def test_where_there_is_no_slurm_it_says_where_to_ask():
    with pytest.raises(CouldNotTell, match="run this on a login node"):
        detect.draft("host|laptop\n")


def test_the_facts_are_collected_with_the_commands_that_are_there(tmp_path):
    sinfo = tmp_path / "sinfo"
    sinfo.write_text(f"#!/bin/sh\necho '{GPU}'\n")
    sinfo.chmod(sinfo.stat().st_mode | stat.S_IXUSR)

    done = subprocess.run(
        [FACTS],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SCRATCH": "/work/me"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert GPU in done.stdout.splitlines()
    assert "scratch|/work/me" in done.stdout.splitlines()
    assert f"host|{os.uname().nodename}" in done.stdout.splitlines()
