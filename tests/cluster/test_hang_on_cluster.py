"""A rank of a program without the kit hangs: it is named with its node and line, and the job ends."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

RUN = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1" HANG="$3" JAX_SIF_TOPOLOGY=G4N2p4 JAX_SIF_HANG_S=8
file=$(mktemp); trap 'rm -f "$file".*' EXIT
srun --nodes=2 --ntasks-per-node=2 --gpus-per-node=2 --kill-on-bad-exit=1 --unbuffered \\
  singularity run --nv "$JAX_IMAGE" python "$1/tests/cluster/programs/plain_hangs.py" |&
  jax-sif verify --user-program --verdict-file "$file.json" || status=$?
echo; echo ==; cat "$file.json"; echo; echo ==; cat "$file.stacks"
exit "${status:-0}"
"""


# The others are waiting for: a rank that runs no Python; one that waits as they do.
@pytest.mark.parametrize(
    ("hang", "state"), [("c_call", "holds-gil"), ("lock", "blocked")]
)
def test_a_rank_that_hangs_is_named_and_ends_the_job(cluster, hang, state):
    done = cluster.bash(RUN, str(cluster.checkout), cluster.module, hang)

    assert 1 == done.returncode, done.stdout + done.stderr
    _, verdict, stacks = done.stdout.rsplit("\n==\n", 2)
    finding = json.loads(verdict)["verdicts"][0]["findings"][0]
    assert ("hang", [3]) == (finding["kind"], finding["ranks"])
    assert "node2" in finding["text"]
    assert "plain_hangs.py:" in finding["text"]
    # The odd one first, and the stack of the others once.
    assert f"rank 3: {state}" in stacks.partition("\n")[0], stacks
    assert stacks.count("in step\n") == 1, stacks
