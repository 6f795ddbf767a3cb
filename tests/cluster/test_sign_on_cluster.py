"""A signed image: its jobs pass, and one byte later they are refused; on the mini cluster, by the real Apptainer."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import CHECKOUT, IMAGE

JOB = """cd; module use "$1/modulefiles"; module load "$2"; export JAX_IMAGE=$3
job=$(sbatch --parsable --output=signed.out "$1/jobs/G4N1p4.slurm")
for ((i = 0; i < 600; i++)); do
  shown=$(scontrol --oneliner show job "$job")
  case $shown in *JobState=COMPLETED*|*JobState=FAILED*) break ;; esac
  sleep 0.1
done
cat signed.out; rm -f signed.out "G4N1p4-$job.json"
[[ $shown =~ \\ ExitCode=([0-9]+): ]]
exit "${BASH_REMATCH[1]}"
"""


@pytest.fixture(scope="module")
def image(cluster) -> Iterator[Path]:
    """A copy of the image, signed twice: only the last signature counts."""
    folder = CHECKOUT / "build" / f"signed-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        for path in (
            IMAGE,
            *(IMAGE.parent / f"{p}{IMAGE.name}.json" for p in ("", ".")),
        ):
            shutil.copy2(path, folder)
        for algorithm in ("RSA", "ED25519"):
            key = folder / f"{algorithm}.pem"
            made = ["openssl", "genpkey", "-algorithm", algorithm, "-out", key]
            subprocess.run(made, check=True, capture_output=True)
            tool = [sys.executable, CHECKOUT / "tools/sign.py", "--accel=cpu"]
            words = [f"--folder={folder}", f"--key={key}"]
            done = subprocess.run([*tool, *words], capture_output=True, text=True)
            assert 0 == done.returncode, done.stdout + done.stderr
        yield folder / IMAGE.name
    finally:
        shutil.rmtree(folder)


def run_job(cluster, image: Path):
    return cluster.bash(JOB, str(cluster.checkout), cluster.module, str(image))


def test_a_job_of_a_signed_image_passes_and_of_a_changed_one_does_not_start(
    cluster, image
):
    signed = run_job(cluster, image)
    with image.open("r+b") as file:
        file.seek(-100_000, 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    changed = run_job(cluster, image)

    assert 0 == signed.returncode, signed.stdout + signed.stderr
    assert "\nPASS  G4N1p4" in signed.stdout
    assert 1 == changed.returncode, changed.stdout + changed.stderr
    assert "was changed, damaged, or built again" in changed.stdout
    assert "\nFAIL  G4N1p4: the image '" in changed.stdout
    assert "ranks started" not in changed.stdout
