"""A rank of a program without the kit hangs: it is named with its node and line, and the job ends."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

# As a user does it.
RUN = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1" HANG="$3" JAX_SIF_HANG_S=8
script=$(mktemp) name=hangs-$(date +%s%N)
jax-sif job G4N2p4 "$1/tests/cluster/programs/plain_hangs.py" > "$script"
job=$(sbatch --parsable --job-name="$name" --output="$name-%j.out" "$script")
file=$name-$job
while squeue --noheader --jobs="$job" | grep -q .; do sleep 0.2; done
for part in out stacks; do echo; echo "== $part"; cat "$file.$part" || :; done
rm "$script" "$file".*
"""


# The others are waiting for: a rank that runs no Python; one that waits as they do.
@pytest.mark.parametrize(
    ("hang", "state"), [("c_call", "holds-gil"), ("lock", "blocked")]
)
def test_a_rank_that_hangs_is_named_and_ends_the_job(cluster, hang, state):
    done = cluster.bash(RUN, str(cluster.checkout), cluster.module, hang)

    everything = done.stdout + done.stderr
    output, _, stacks = done.stdout.partition("\n== stacks\n")
    verdict = output.strip().splitlines()[-1]
    assert verdict.startswith("FAIL  G4N2p4: rank 3 on node2: "), everything
    assert "plain_hangs.py:" in verdict
    # The odd one first, and the stack of the others once.
    assert f"rank 3: {state}" in stacks.partition("\n")[0], everything
    assert stacks.count("in step\n") == 1, everything
