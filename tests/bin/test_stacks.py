"""`jax-sif stacks` beside a Slurm whose job answers at once, or not at all."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess

import pytest
from checkout import ROOT

SRUN = """#!/bin/sh
for last; do :; done
sh -c "$last" && echo "$*" > asked
sleep 0.05
if [ -z "${SILENT:-}" ]; then echo "rank 3: blocked" > "${FILE:-a-b-7}.stacks"; fi
"""
SCONTROL = """#!/bin/sh
[ "$3" = 7 ] || { echo "slurm_load_jobs error: Invalid job id" >&2; exit 1; }
echo "JobId=7 JobName=${NAME:-a/b}"
echo "   UserId=me(1) GroupId=me(1) MCS_label=N/A"
echo "   JobState=${STATE:-RUNNING} Reason=None Dependency=(null)"
echo "   NumNodes=2 NumCPUs=4 NumTasks=4 CPUs/Task=1"
echo "   Command=$PWD/train.slurm"
echo "   WorkDir=$PWD"
"""


@pytest.fixture
def stacks(site, tmp_path):
    for name, text in (
        ("srun", SRUN),
        ("scontrol", SCONTROL),
        ("sleep", "#!/bin/sh\n"),
    ):
        program = tmp_path / "runtime" / name
        program.write_text(text)
        program.chmod(0o755)

    def run(*words: str, folder=tmp_path, **more: str):
        return subprocess.run(
            [ROOT / "bin/jax-sif", "stacks", *words],
            env={**site, **more},
            cwd=folder,
            capture_output=True,
            text=True,
        )

    return run


def test_the_answer_of_a_running_job_is_shown(stacks, tmp_path):
    old = tmp_path / "a-b-7.stacks"
    old.write_text("of yesterday")

    done = stacks("7")

    assert 0 == done.returncode, done.stderr
    assert f"{old}\nrank 3: blocked\n" == done.stdout
    assert "--jobid=7 --overlap" in (tmp_path / "asked").read_text()


def test_a_job_and_its_folder_may_have_spaces(stacks, tmp_path):
    folder = tmp_path / "my runs"
    folder.mkdir()

    done = stacks("7", folder=folder, NAME="two words x=1", FILE="two words x=1-7")

    assert 0 == done.returncode, done.stderr
    assert f"{folder}/two words x=1-7.stacks\nrank 3: blocked\n" == done.stdout


@pytest.mark.parametrize(
    ("words", "more", "status"),
    [
        ((), {}, 2),
        (("x",), {}, 2),
        (("7", "8"), {}, 2),
        (("8",), {}, 1),
        (("7",), {"STATE": "PENDING"}, 1),
        (("7",), {"SILENT": "1"}, 1),
    ],
)
def test_without_an_answer_it_fails_and_explains(stacks, tmp_path, words, more, status):
    done = stacks(*words, **more)

    assert status == done.returncode
    assert done.stderr.count("jax-sif: error:") == 1
    assert (tmp_path / "asked").exists() == ("SILENT" in more)
