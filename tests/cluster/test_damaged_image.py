"""An image that is damaged, or changed: the job ends in seconds, with a verdict that says so; on the mini cluster, by the real Apptainer."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import CHECKOUT, IMAGE

JOB = """cd; module use "$1/modulefiles"; module load "$2"; export JAX_IMAGE=$3
job=$(sbatch --parsable --output=damaged.out "$1/jobs/G4N1p4.slurm")
for ((i = 0; i < 600; i++)); do
  shown=$(scontrol --oneliner show job "$job")
  case $shown in *JobState=COMPLETED*|*JobState=FAILED*) break ;; esac
  sleep 0.1
done
cat damaged.out; rm -f damaged.out "G4N1p4-$job.json"
[[ $shown =~ StartTime=([^\\ ]+).*EndTime=([^\\ ]+) ]]
echo "seconds: $(($(date -d "${BASH_REMATCH[2]}" +%s) - $(date -d "${BASH_REMATCH[1]}" +%s)))"
[[ $shown =~ \\ ExitCode=([0-9]+): ]]
exit "${BASH_REMATCH[1]}"
"""


@pytest.fixture
def image(cluster) -> Iterator[Path]:
    folder = CHECKOUT / "build" / f"damaged-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        for path in (IMAGE, IMAGE.with_name(f"{IMAGE.name}.json")):
            shutil.copy(path, folder)
        yield folder / IMAGE.name
    finally:
        shutil.rmtree(folder)


def overwrite(image: Path, position: int, content: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(position)
        file.write(content)


def flip(image: Path) -> None:
    middle = image.stat().st_size // 2
    with image.open("rb") as file:
        file.seek(middle)
        content = file.read(4096)
    overwrite(image, middle, bytes(byte ^ 0xFF for byte in content))


def behead(image: Path) -> None:
    overwrite(image, 0, bytes(4096))


def halve(image: Path) -> None:
    os.truncate(image, image.stat().st_size // 2)


def run_job(cluster, image: Path):
    return cluster.bash(JOB, str(cluster.checkout), cluster.module, str(image))


@pytest.mark.parametrize("damage", [flip, behead, halve])
def test_a_job_on_a_damaged_image_ends_before_its_ranks_begin(cluster, image, damage):
    damage(image)
    done = run_job(cluster, image)

    print(done.stdout)
    assert 1 == done.returncode, done.stdout + done.stderr
    assert "\nFAIL  G4N1p4: the image '" in done.stdout
    assert "' is damaged: " in done.stdout
    assert "ranks started" not in done.stdout


@pytest.mark.parametrize("damage", [behead, halve])
def test_without_its_checksum_it_ends_with_a_verdict_all_the_same(
    cluster, image, damage
):
    Path(f"{image}.json").unlink()
    damage(image)
    done = run_job(cluster, image)

    print(done.stdout)
    assert 1 == done.returncode, done.stdout + done.stderr
    assert "\nFAIL  G4N1p4: the image '" in done.stdout


@pytest.mark.parametrize("command", ["job G8N2p8 train.py", "info", "verify"])
def test_no_command_shows_a_panic(cluster, image, command):
    halve(image)
    done = cluster.bash(
        f'module use "$1/modulefiles"; module load "$2"; export JAX_IMAGE=$3\n'
        f"jax-sif {command} < /dev/null",
        *(str(cluster.checkout), cluster.module, str(image)),
    )

    assert 1 == done.returncode
    assert "is damaged: it has " in done.stdout + done.stderr
    assert "goroutine" not in done.stdout + done.stderr


def test_a_whole_image_passes_and_is_remembered(cluster, image):
    # What changed less than 3 s ago is not remembered: see remember_verified in bin/image.sh.
    while time.time() - image.stat().st_ctime < 4:
        time.sleep(0.2)
    done = run_job(cluster, image)

    assert 0 == done.returncode, done.stdout + done.stderr
    number = image.stat().st_ino
    seen = cluster.bash('cat ~/.cache/jax-sif/seen/*-"$1"', str(number))
    assert str(image.stat().st_size) in seen.stdout.split()
