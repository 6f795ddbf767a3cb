"""What a job was given against what it asks for, before its ranks start."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os

import pytest
from wheels import put_squashfs_tools

from jaxsif import cli
from jaxsif.commands.check import check, mismatches, task_counts
from jaxsif.core.topology import parse_topology
from jaxsif.overlay import create as making
from jaxsif.overlay import manifest, squashfs

# A batch script on the mini cluster, with --nodes=2 --ntasks-per-node=4
# --gpus-per-node=4.
BATCH = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_TASKS_PER_NODE": "4(x2)",
    "SLURM_GPUS_PER_NODE": "4",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURMD_NODENAME": "node1",
    "JAX_SIF_TOPOLOGY": "G8N2p8",
}


def found(label: str = "G8N2p8", **changes: str) -> list[str]:
    return [t.text for t in mismatches({**BATCH, **changes}, parse_topology(label))]


def test_what_was_asked_for_is_well():
    assert [] == found()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SLURM_JOB_NUM_NODES": "3"}, "the job has 3 nodes, "),
        ({"SLURM_TASKS_PER_NODE": "3(x2)"}, "has 6 processes (3, 3 on its nodes), "),
        ({"SLURM_TASKS_PER_NODE": "5,3"}, "has 8 processes (5, 3 on its nodes), "),
        ({"SLURM_GPUS_ON_NODE": "2"}, "has 2 GPUs on node1, "),
        ({"SLURM_GPUS_ON_NODE": "8"}, "has 8 GPUs on node1, "),
    ],
)
def test_what_differs_is_named_with_both_numbers(changes, words):
    (text,) = found(**changes)

    assert words in text
    assert "G8N2p8 (2 nodes x 4 processes x 1 devices) asks for " in text


def test_another_topology_than_the_jobs_is_named():
    assert ["the job has 8 processes (4, 4 on its nodes)"] == [
        text.partition(", G6N2p6")[0] for text in found("G6N2p6")[:1]
    ]


def test_what_slurm_does_not_set_is_not_compared():
    assert [] == list(mismatches({"SLURM_JOB_ID": "7"}, parse_topology("G8N2p8")))


def test_gpus_that_were_asked_for_in_another_way_are_left_to_the_ranks():
    changed = {**BATCH, "SLURM_GPUS_ON_NODE": "2"}
    del changed["SLURM_GPUS_PER_NODE"]

    assert [] == list(mismatches(changed, parse_topology("G8N2p8")))


@pytest.mark.parametrize(
    ("text", "counts"),
    [("4(x2),1", [4, 4, 1]), ("4", [4]), ("", []), ("four", []), ("2,3", [2, 3])],
)
def test_slurms_counts_are_spelled_out(text, counts):
    assert counts == task_counts(text)


def test_a_job_that_can_work_is_met_with_silence(capsys):
    assert 0 == check(None, BATCH)
    assert "" == capsys.readouterr().out


def test_a_job_that_cannot_work_ends_with_a_verdict(capsys):
    assert 1 == check(None, {**BATCH, "SLURM_TASKS_PER_NODE": "3(x2)"})

    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("1. the job has 6 processes")
    assert last.startswith("FAIL  G8N2p8: the job has 6 processes")


def test_a_program_that_the_container_does_not_see_is_named(capsys, tmp_path):
    here = tmp_path / "train.py"

    assert 1 == check(str(here), BATCH)
    assert f"'{here}' does not exist in the container" in capsys.readouterr().out

    here.touch()
    assert 0 == check(str(here), BATCH)


def test_a_baseline_that_is_none_is_named_before_anything_is_measured(capsys, tmp_path):
    baseline = tmp_path / "baseline.toml"
    baseline.write_text("speeds = 7")

    assert 1 == check(None, {**BATCH, "JAX_SIF_BASELINE": str(baseline)})
    assert f"{baseline}" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "this is not a job"),
        ({"SLURM_JOB_ID": "7"}, "JAX_SIF_TOPOLOGY is not set"),
        ({"SLURM_JOB_ID": "7", "JAX_SIF_TOPOLOGY": "8"}, "unknown topology '8'"),
    ],
)
def test_outside_of_a_job_it_is_wrong_usage(monkeypatch, capsys, variables, words):
    for name in ("SLURM_JOB_ID", "JAX_SIF_TOPOLOGY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert 2 == cli.main(["check"])
    assert words in capsys.readouterr().err


LINE = "# 0123456789abcdef jax-sif-1.0-cpu (Python 3.13, x86_64)"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A file that fits the image of this machine, as two lists have it."""
    tools = put_squashfs_tools(tmp_path / "tools")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(making, "IMAGE_PACKAGES_FILE", tmp_path / "packages.txt")
    (tmp_path / "packages.txt").write_text(f"{LINE}\njax==1.0\n")
    root = tmp_path / "root"
    root.mkdir()
    (root / "image.txt").write_text(f"{LINE}\njax==1.0\n")
    (root / "packages.json").write_text(manifest.encode((), "0"))
    squashfs.write(root, tmp_path / "my.sqsh")
    return tmp_path / "my.sqsh"


def test_packages_that_fit_are_met_with_silence(packages, capsys):
    assert 0 == check(None, BATCH, str(packages))
    assert "" == capsys.readouterr().out


def test_packages_of_another_image_end_the_job(packages, capsys):
    other = "# fedcba9876543210 jax-sif-2.0-cpu (Python 3.13, x86_64)\njax==2.0\n"
    (packages.parent / "packages.txt").write_text(other)

    assert 1 == check(None, BATCH, str(packages))
    assert "this image is jax-sif-2.0-cpu (Python 3.13, x86_64): jax 1.0, here 2.0" in (
        capsys.readouterr().out
    )
    assert 0 == check(None, {**BATCH, "JAX_SIF_PACKAGES_ANY_IMAGE": "1"}, str(packages))


def test_packages_that_are_not_there_end_the_job(capsys, tmp_path):
    assert 1 == check(None, BATCH, f"{tmp_path}/my.sqsh")
    assert f"cannot read the packages '{tmp_path}/my.sqsh'" in capsys.readouterr().out
