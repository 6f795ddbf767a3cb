"""Injected faults: which are possible, what happens, and what the verdict says."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys

import pytest
from run_launch import command, environment, launch, start
from sample_records import fields_of, make_record

from jaxsif.core.errors import UsageError
from jaxsif.core.record_lines import MARKER_BYTES
from jaxsif.launch.faults import Fault, plan

FOREVER = "while :; do sleep 0.1; done"


def test_every_rank_can_have_a_fault_at_a_moment():
    found = plan({"kill": [3, 1], "skip": [0]}, 2.5, 4)

    assert [
        Fault("kill", 3, 2.5),
        Fault("kill", 1, 2.5),
        Fault("skip", 0, 0.0),
    ] == found


@pytest.mark.parametrize(
    ("ranks", "after_s", "words"),
    [
        ({"kill": [4]}, None, "--kill-rank 4: no such rank; the topology has ranks 0 to 3"),
        ({"stall": [-1]}, None, "--stall-rank -1: no such rank"),
        ({"kill": [1], "skip": [1]}, None, "both --kill-rank and --skip-rank"),
        ({}, 2.0, "--after needs a fault"),
        ({"skip": [1]}, 2.0, "--after needs a fault"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(ranks, after_s, words):
    with pytest.raises(UsageError) as raised:
        plan(ranks, after_s, 4)

    assert words in str(raised.value)


def test_a_killed_rank_is_announced_and_ends_the_launch_as_any_other_end():
    done = launch(
        *("G4N2p4", "--kill-rank", "3", "--after", "100ms", "--", "sh", "-c", FOREVER)
    )

    assert 137 == done.returncode
    assert (
        "jax-sif launch: injected: rank 3 on node2 is killed by SIGKILL\n"
        "jax-sif launch: error: node2: task 3: Killed\n"
    ) in done.stderr


def test_a_skipped_rank_never_starts_and_the_others_go_on():
    done = launch("G4N2p4", "--skip-rank", "1", "--", "sh", "-c", "echo $SLURM_PROCID")

    assert (0, ["0", "2", "3"]) == (done.returncode, sorted(done.stdout.split()))
    assert "injected: rank 1 on node1 is never started\n" in done.stderr
    assert "1     node1  never started  -\n" in done.stderr


def test_a_stalled_rank_stays_and_is_killed_with_the_rest():
    done = launch(
        *("G2N2p2", "--stall-rank", "1", "--time-limit", "3s", "--grace", "1h"),
        *("--", "sh", "-c", FOREVER),
    )

    assert 124 == done.returncode
    assert "injected: rank 1 on node2 is stopped by SIGSTOP\n" in done.stderr
    # SIGTERM does not reach it, so the grace of an hour is not for it.
    assert "1     node2  Killed, by the launcher" in done.stderr


def test_a_slow_rank_gets_less_done_than_another_and_comes_to_its_end():
    counts = "import time; t = time.time() + 2; n = 0\nwhile time.time() < t: n += 1\n"
    script = f"{counts}import os; print(os.environ['SLURM_PROCID'], n)"

    done = launch(
        *("G2N2p2", "--slow-rank", "1", "--", sys.executable, "-c", script),
    )

    assert 0 == done.returncode
    turns = dict(line.split() for line in done.stdout.splitlines())
    assert int(turns["1"]) < int(turns["0"])


def test_a_fault_that_comes_too_late_says_so():
    # Long enough for rank 1 to end on a busy machine; rank 0 stays until it is said.
    script = f"[ $SLURM_PROCID = 1 ] || {FOREVER}"
    launched = start(
        *("G2N2p2", "--kill-rank", "1", "--after", "3s", "--", "sh", "-c", script)
    )
    while (line := launched.stdout.readline()) and "injected" not in line:
        pass

    launched.terminate()

    assert "not injected: rank 1 on node2 has ended already\n" in line
    assert 143 == launched.wait()


@pytest.mark.parametrize(
    ("words", "finding"),
    [
        (("--kill-rank", "3"), "rank 3 on node2: Killed (reported by jax-sif launch)"),
        (("--skip-rank", "3"), "1 of 4 ranks never reported: rank 3 on node2"),
    ],
)
def test_the_verdict_names_the_rank(words, finding):
    prints_steps = (
        "from jaxsif.core.record_lines import encode_fields, rank_key; import os, time;"
        f" started = {fields_of(make_record(0, 'started', processes=4))!r};"
        " rank = int(os.environ['SLURM_PROCID']);"
        " started |= {'rank': rank, 'step': 'local.1.0.0',"
        " 'node': os.environ['SLURMD_NODENAME'],"
        " 'nodes': os.environ['SLURM_STEP_NODELIST'],"
        " 'topology': os.environ['JAX_SIF_TOPOLOGY']};"
        " print(encode_fields(started, rank_key(os.environ)), end='', flush=True);"
        " time.sleep(1)"
    )
    words = command("G4N2p4", *words, "--", sys.executable, "-c", prints_steps)
    launched = subprocess.run(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )

    verdict = subprocess.run(
        [sys.executable, "-m", "jaxsif", "verify"],
        env=environment(),
        input=launched.stdout,
        capture_output=True,
    )

    assert 1 == verdict.returncode
    assert f"FAIL  G4N2p4: {finding}\n" in verdict.stdout.decode()


@pytest.mark.parametrize("speaker", ["jax-sif launch", "srun"])
def test_what_a_rank_prints_is_no_word_of_the_launchers(speaker):
    prints = f"print({f'{speaker}: error: node2: task 3: Killed'!r})"
    words = command("G4N2p4", "--", sys.executable, "-c", prints)
    launched = subprocess.run(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )

    verdict = subprocess.run(
        [sys.executable, "-m", "jaxsif", "verify", "--user-program"],
        env=environment(),
        input=launched.stdout,
        capture_output=True,
    )

    assert 0 == verdict.returncode
    assert b"NO VERDICT" in verdict.stdout
    assert MARKER_BYTES not in verdict.stdout
    assert b"jax-sif launch: G4N2p4 as node1 to node2" in verdict.stdout
