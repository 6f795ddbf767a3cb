"""Jobs that start themselves again, on four nodes: a killed rank, the same exception twice, wrong usage, and a lost node; benchmarks/recovery.py has more."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cluster import Cluster
from recovered import kill_node

SUBMIT = """cd; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"
program="$1/tests/cluster/programs/$3" folder=$4; shift 4; mkdir "$folder"
jax-sif job --output="$folder/out" --job-name="$folder" --time=00:10:00 "$1" "$2" \\
  G2N2p2 "$program" "${@:3}" | sbatch --parsable
"""
LOOK = """cd; squeue --noheader --jobs="$1" --format=%T 2>/dev/null || :; echo; cat "$2/out" || :"""
_MAX_S = 240


@pytest.fixture(scope="module")
def four(cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of four nodes."""
    started = replace(cluster, state=tmp_path_factory.mktemp("recovery") / "state")
    subprocess.run(started.minicluster("up", "--nodes", "4"), check=True)
    yield started
    subprocess.run(started.minicluster("down", "--purge"), check=True)


@dataclass
class Job:
    """A job with a spare node, as a user looks at it."""

    cluster: Cluster
    folder: str
    number: str

    def look(self) -> tuple[str, str]:
        """Its state, empty when it has ended, and its output."""
        done = self.cluster.bash(LOOK, self.number, self.folder)
        state, _, output = done.stdout.partition("\n")
        return state.strip(), output

    def wait_for(self, pattern: str | None) -> str:
        """Waits for a line of the output, or for the job's end; returns the output."""
        deadline_s = time.monotonic() + _MAX_S
        while True:
            state, output = self.look()
            if not state or (pattern and re.search(pattern, output, re.M)):
                assert pattern is None or re.search(pattern, output, re.M), output
                return output
            assert time.monotonic() < deadline_s, output
            time.sleep(0.2)

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Of its history."""
        name = f"/home/hpc/{self.folder}-{self.number}.attempts.json"
        return json.loads(self.cluster.run("cat", name).stdout)["attempts"]

    @property
    def actions(self) -> list[str]:
        """What followed from each attempt."""
        return [attempt["decision"]["action"] for attempt in self.attempts]


def submit(cluster: Cluster, program: str, *arguments: str) -> Job:
    """FOLDER among the arguments is a new one."""
    folder = f"recovery-{uuid.uuid4().hex[:8]}"
    words = [folder if word == "FOLDER" else word for word in arguments]
    done = cluster.bash(
        SUBMIT,
        *(str(cluster.checkout), cluster.module, program, folder),
        *("--spare-nodes=1", "--max-restarts=5", *words),
    )
    assert done.returncode == 0, done.stderr
    return Job(cluster, folder, done.stdout.strip())


def test_a_killed_rank_is_started_again_and_nothing_of_the_first_attempt_is_left(four):
    job = submit(four, "recovers.py", "killed", "FOLDER")

    output = job.wait_for(None)

    assert ["start", "done"] == job.actions, output
    assert "nothing is left" in output
    assert "rank 1 on node2: attempt 2" in output
    first, _ = job.attempts
    assert ("rank-exited", ["node2"]) == (
        first["cause"]["kind"],
        first["cause"]["nodes"],
    )


def test_the_same_exception_twice_ends_the_job(four):
    job = submit(four, "recovers.py", "raises", "FOLDER")

    output = job.wait_for(None)

    assert ["start", "stop"] == job.actions, output
    assert ["ValueError: no such data"] * 2 == [
        attempt["cause"]["error"] for attempt in job.attempts
    ]


def test_wrong_usage_ends_the_job_at_once(four):
    job = submit(four, "recovers.py", "usage", "FOLDER")

    output = job.wait_for(None)

    assert ["stop"] == job.actions, output


def test_a_lost_node_is_replaced_and_the_result_is_that_of_an_undisturbed_run(four):
    """The last test: the node stays lost."""
    calm = submit(four, "saves_steps.py", "FOLDER", "30", "0")
    expected = re.findall(r"^result (\w+)$", calm.wait_for(None), re.M)

    job = submit(four, "saves_steps.py", "FOLDER", "30", "0.3")
    job.wait_for("^step 12$")
    kill_node(four, "node2")
    output = job.wait_for(None)

    assert 1 == len(expected)
    assert expected == re.findall(r"^result (\w+)$", output, re.M), output
    assert "done" == job.actions[-1]
    assert ["node1", "node3"] == job.attempts[-1]["nodes"]
