"""Programs that fork, in the image with real JAX: data loaders and other children of a rank change nothing for the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

from cluster import PROGRAMS

PROGRAM = PROGRAMS / "forks.py"
LAUNCHED = """
cd; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"
jax-sif launch G2N1p2 -- python -W ignore "$3" |& jax-sif verify --user-program
"""


def test_a_rank_that_makes_children_in_all_ways_passes(cluster):
    cases = re.findall(r'^    "([\w-]+)": ', PROGRAM.read_text(), re.MULTILINE)
    done = cluster.bash(
        LAUNCHED, str(cluster.checkout), cluster.module, str(PROGRAM), limit_s=300
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    for case in cases:
        assert f"case {case} is over" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("PASS  G2N1p2")
