"""The job scripts, as text: those that the tool prints, right numbers, nothing of a site."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT

import jobs
from jaxsif.core.topology import parse_topology

FOLDER = ROOT / "jobs"
EXAMPLES = sorted(jobs.EXAMPLES.glob("*.slurm"))
JOBS = sorted(FOLDER.glob("*.slurm"))
ORDER = [
    "job-name",
    "output",
    "time",
    "signal",
    "requeue",
    "open-mode",
    "nodes",
    "ntasks-per-node",
    "cpus-per-task",
    "mem",
    "gpus-per-node",
]

each_job = pytest.mark.parametrize("job", JOBS + EXAMPLES, ids=lambda path: path.stem)


def directives(job: Path) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([a-z-]+)=?(\S*)$", job.read_text(), re.M))


def test_they_are_what_the_tool_prints_for_the_shipped_profiles():
    written = {path.name: path.read_text() for path in JOBS}

    assert jobs.scripts() == written, "run: make jobs"


def test_the_scripts_of_the_examples_are_what_the_tool_prints_for_them():
    written = {path.name: path.read_text() for path in EXAMPLES}

    assert jobs.example_scripts() == written, "run: make jobs"


def test_every_example_has_its_script_and_its_page():
    programs = {path.stem for path in jobs.EXAMPLES.glob("*.py")}

    assert programs == {path.stem for path in EXAMPLES}
    assert programs == {
        path.stem for path in (FOLDER.parent / "docs/examples").glob("*.md")
    }


def test_the_jobs_that_people_know_are_there():
    assert {"G4N1p4", "G4N2p2", "G4N2p4", "allreduce", "debug", "small", "medium"} <= {
        job.stem for job in JOBS
    }


@each_job
def test_the_directives_ask_for_the_topology_and_stand_in_order(job):
    asked = directives(job)
    (label,) = re.findall(r"JAX_SIF_TOPOLOGY:-(\w+)", job.read_text())
    topology = parse_topology(label)

    assert list(asked) == [name for name in ORDER if name in asked]
    assert str(topology.nodes) == asked["nodes"]
    assert str(topology.processes_per_node) == asked["ntasks-per-node"]
    devices = re.search(r"JAX_NUM_CPU_DEVICES=(\d+)", job.read_text())
    if devices:
        assert str(topology.devices_per_process) == devices[1]
    else:
        assert str(topology.devices_per_node) == asked["gpus-per-node"]


@each_job
def test_every_directive_is_a_long_option_that_was_read(job):
    lines = [x for x in job.read_text().splitlines() if x.startswith("#SBATCH")]

    assert len(directives(job)) == len(lines)


@each_job
def test_no_site_is_named(job):
    assert not re.search(
        r"partition|account|constraint|qos|module use|reservation|gpus-per-task",
        job.read_text(),
    )


@each_job
def test_without_the_module_the_job_says_what_to_load(job):
    done = subprocess.run(["bash", job], env={}, capture_output=True, text=True)

    assert done.returncode != 0
    assert "module load jax-sif" in done.stderr
