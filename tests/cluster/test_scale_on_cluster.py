"""jax-sif scale on a real Slurm, from the login node: jobs one after another, and a table of their speeds."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import uuid

import pytest

pytestmark = pytest.mark.measures

SCALE = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1" JAX_SIF_POLL_INTERVAL_S=0.3; folder=$3; shift 3
jax-sif scale G1N1p1 --nodes 1,2 --output-dir "$folder" "$@" && status=0 || status=$?
ls "$folder"; sed -n 's/^#SBATCH --job-name=//p' "$folder"/*.slurm; rm -r "$folder"
exit "$status"
"""


def scale(cluster, *words: str):
    folder = f"scale-{uuid.uuid4().hex[:8]}"
    return cluster.bash(SCALE, str(cluster.checkout), cluster.module, folder, *words)


def test_a_program_s_speed_on_one_node_and_on_two_becomes_a_table(cluster):
    program = cluster.checkout / "tests/cluster/programs/reports_speed.py"

    done = scale(cluster, str(program))

    assert 0 == done.returncode, done.stdout + done.stderr
    row = r"^    {0}        {0}     1 +[\d,.]+ +\d\.\d\d   {0}\.00 +\d+%"
    assert re.search(row.format(1), done.stdout, re.M), done.stdout
    assert re.search(row.format(2) + "  (good|poor), by 80%$", done.stdout, re.M)
    assert re.search("^SCALES (WELL|POORLY)  reports_speed: ", done.stdout, re.M)
    written = {"scale.html", "scale.csv", "scale.json"}
    assert written | {"1.out", "2.out", "1.json", "2.json"} <= set(done.stdout.split())
    # The charts' library is in the image.
    assert "no charts" not in done.stderr


def test_a_run_that_fails_is_named_with_its_cause(cluster):
    program = cluster.checkout / "tests/cluster/programs/user_program.py"

    done = scale(cluster, "--env", "FAULT=raises", str(program))

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "1 node: FAIL: " in done.stdout
    assert "RuntimeError: no such data set" in done.stdout
