"""`jax-sif run`: the seat belt of the image, where there is no image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "node[1-2]",
}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jaxsif", "run", *words],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )


def test_a_program_finds_what_the_entry_sets_and_its_words_unchanged():
    done = run(
        "sh", "-c", 'echo "$JAX_COORDINATOR_PORT" "$@"', "-", "a  b", "--", **STEP
    )

    assert 0 == done.returncode, done.stderr
    port, _, rest = done.stdout.partition(" ")
    assert 12288 <= int(port) < 32768
    assert "a  b --\n" == rest


def test_the_exit_status_is_the_programs():
    assert 7 == run("--", "sh", "-c", "exit 7").returncode


@pytest.mark.parametrize("words", [[], ["--"]])
def test_without_a_program_it_is_wrong_usage(words):
    done = run(*words)

    assert 2 == done.returncode
    assert "jax-sif run python train.py" in done.stderr
