"""A user's own program that starts with initialize_distributed(): the same verdict as a diagnostic's."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time

import pytest

RUN = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1" FAULT="$3" JAX_SIF_TOPOLOGY=G4N2p4
srun --nodes=2 --ntasks-per-node=2 --gpus-per-node=2 --kill-on-bad-exit=1 --unbuffered \
  singularity run --nv "$JAX_IMAGE" python "$1/tests/cluster/programs/user_program.py" |&
  jax-sif verify
"""


def run(cluster, fault: str = ""):
    return cluster.bash(RUN, str(cluster.checkout), cluster.module, fault)


def test_it_passes_and_its_peers_are_proven(cluster):
    done = run(cluster)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert 4 == done.stdout.count(": 4\n")
    assert done.stdout.splitlines()[-1].startswith(
        "PASS  G4N2p4: 4 processes on 2 nodes"
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raises", "rank 3 on node2 ended in an exception: RuntimeError: no such data"),
        ("exits", "rank 3 on node2 ended in an exception: SystemExit: 5"),
    ],
)
def test_its_failure_ends_the_job_soon_and_is_named(cluster, fault, words):
    began_s = time.monotonic()
    done = run(cluster, fault)

    assert 1 == done.returncode, done.stdout + done.stderr
    assert words in done.stdout.splitlines()[-1]
    # JAX alone waits for 300 s.
    assert time.monotonic() - began_s < 60


def test_a_sigterm_ends_the_rank_and_the_job_although_jax_swallows_it(cluster):
    done = run(cluster, "terminated")

    assert 0 != done.returncode
    assert "rank 3 on node2: ended by SIGTERM (after connected, user_program.py:" in (
        done.stdout + done.stderr
    )
