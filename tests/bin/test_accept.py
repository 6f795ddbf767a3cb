"""`jax-sif accept` beside a Slurm whose jobs end at once: what it submits, and what it makes of their ends."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess

import pytest
from checkout import ROOT

BIN = ROOT / "bin"

# `sbatch` notes what it was asked, and leaves a verdict
# and the exit status that stands in the file of that check's name.
SLURM = {
    "sbatch": """
        cat > /dev/null
        echo "$*" >> asked
        number=$(wc -l < asked)
        for word; do case $word in --job-name=*) name=${word#*=} ;; esac; done
        [ ! -e "$name.refused" ] || exit 1
        status=0
        if [ -e "$name.status" ]; then read -r status < "$name.status"; fi
        echo "$status" > "job.$number"
        word=PASS
        if [ "$status" -ne 0 ]; then word=FAIL; fi
        if [ -e "$name.printed" ]; then
          cat "$name.printed" > "$name-$number.out"
        elif [ ! -e "$name.silent" ]; then
          echo "$word  what was seen" > "$name-$number.out"
        fi
        echo "{}" > "$name-$number.json"
        echo "$number"
    """,
    "scontrol": """
        read -r status < "job.$4"
        state=COMPLETED
        if [ "$status" -ne 0 ]; then state=FAILED; fi
        echo "JobId=$4 JobState=$state Reason=None ExitCode=$status:0 End=now"
    """,
    "scancel": 'echo "$*" > cancelled',
    "apptainer": 'echo "$*" >> tool; echo script',
}
CHECKS = ["G4N1p4", "G4N2p2", "G4N2p4", "allreduce", "bandwidth", "pairs"]


@pytest.fixture
def accept(site, tmp_path):
    """`jax-sif accept` beside such a Slurm."""
    for name, body in SLURM.items():
        program = tmp_path / "runtime" / name
        program.write_text(f"#!/bin/sh\n{body}")
        program.chmod(0o755)

    quick = {**site, "JAX_SIF_POLL_INTERVAL_S": "0.02"}

    def run(*words: str):
        return subprocess.run(
            [BIN / "jax-sif", "accept", *words],
            **{"env": quick, "cwd": tmp_path, "capture_output": True, "text": True},
        )

    return run


def test_accept_runs_every_check_after_the_one_before(accept, tmp_path):
    done = accept("--partition=gpu")

    assert (0, "") == (done.returncode, done.stderr)
    assert f"PASS  acceptance: {' '.join(CHECKS)}" == done.stdout.splitlines()[-1]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [f"--job-name={c}" for c in CHECKS] == [line.split()[1] for line in asked]
    after = [f"--dependency=afterany:{number}" for number in range(1, 6)]
    assert after == [line.split()[2] for line in asked[1:]]
    rendered = (tmp_path / "tool").read_text().splitlines()
    assert all("--partition=gpu" in line for line in rendered[:6])
    assert "G4N1p4-1.json" in rendered[6] and "pairs-6.json" in rendered[6]


def test_accept_measures_the_nodes_that_are_named(accept, tmp_path):
    accept("--topology=G64N16p64", "--partition=gpu")

    rendered = (tmp_path / "tool").read_text().splitlines()[:6]
    assert [False] * 3 + [True] * 3 == ["G64N16p64" in line for line in rendered]
    assert all("--partition=gpu" in line for line in rendered)


def test_accept_names_the_check_that_failed(accept, tmp_path, golden):
    (tmp_path / "pairs.status").write_text("1\n")
    (tmp_path / "G4N2p2.status").write_text("3\n")

    done = accept()

    assert 1 == done.returncode
    golden("accept-with-a-failed-check", done.stdout)


def test_accept_that_could_not_tell_does_not_pass(accept, tmp_path):
    (tmp_path / "G4N2p2.status").write_text("3\n")

    assert 3 == accept().returncode


def test_warnings_are_shown_below_their_verdict(accept, tmp_path, golden):
    (tmp_path / "pairs.silent").touch()
    said = (
        "1. warning: there is no third node\n   -> ask\nPASS  G8N2p8: 1 warning above\n"
    )
    (tmp_path / "pairs-6.out").write_text(said)

    done = accept()

    golden("accept-with-a-warning", done.stdout)


def test_a_job_without_output_is_no_pass(accept, tmp_path, golden):
    (tmp_path / "pairs.silent").touch()

    done = accept()

    assert 3 == done.returncode
    golden("accept-without-output", done.stdout)


def test_a_job_without_a_verdict_is_no_pass(accept, tmp_path, golden):
    (tmp_path / "pairs.silent").touch()
    (tmp_path / "pairs-6.out").write_text("PASSED, I think\n")

    done = accept()

    assert 3 == done.returncode
    golden("accept-without-verdict", done.stdout)


def test_accept_takes_back_what_it_submitted_when_slurm_refuses_one(accept, tmp_path):
    (tmp_path / "allreduce.refused").touch()

    done = accept()

    assert 2 == done.returncode
    assert "1 2 3" == (tmp_path / "cancelled").read_text().strip()


def test_accept_says_where_it_can_run(accept):
    assert 2 == accept("train.py").returncode
    assert "not 'train.py'" in accept("train.py").stderr


def test_a_verdict_that_does_not_fit_the_status_is_the_text_of_a_program(
    accept, tmp_path
):
    (tmp_path / "allreduce.status").write_text("1")
    (tmp_path / "allreduce.printed").write_text("PASS  G8N2p8: 8 processes\n")
    (tmp_path / "pairs.printed").write_text("PASS  what was seen\nFAIL  yesterday\n")

    done = accept()

    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert 1 == done.returncode
    assert "PASS" not in lines["allreduce"]
    assert lines["pairs"].endswith("PASS  what was seen")
