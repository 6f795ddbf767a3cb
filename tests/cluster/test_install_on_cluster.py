"""`make install` as a centre's root does it, and what users of the installed tree can do, on the mini cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest
from cluster import CHECKOUT, MINICLUSTER

INSTALL = ("python3", str(CHECKOUT / "tools/install.py"), "--accel=cpu", "--prefix")


def as_root(*command: str) -> subprocess.CompletedProcess[str]:
    """A command that root of the login node runs."""
    return subprocess.run(
        [MINICLUSTER, "on", "login", "--", *command],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def centre(cluster) -> Iterator[str]:
    """A tree on all nodes, installed by a root whose umask keeps others out."""
    prefix = f"/home/a centre {uuid.uuid4().hex[:8]}"
    done = as_root("sh", "-c", 'umask 077; exec "$@"', "sh", *INSTALL, prefix)
    assert 0 == done.returncode, done.stderr
    yield prefix
    assert 0 == as_root("rm", "-r", prefix).returncode


def test_users_can_read_everything_and_write_nothing(cluster, centre: str) -> None:
    unreadable = cluster.run("find", centre, "!", "-readable")
    writable = cluster.run("find", centre, "!", "-type", "l", "-writable")
    refused = cluster.run("touch", f"{centre}/bin/jax-sif")

    assert ("", "") == (unreadable.stdout, writable.stdout)
    assert 1 == refused.returncode


def test_its_module_loads_without_a_version(cluster, centre: str) -> None:
    script = 'module use "$1/modulefiles"; module load jax-sif; cd /; env; jax-sif info'
    done = cluster.bash(script, centre)

    assert 0 == done.returncode, done.stderr
    assert f"JAX_IMAGE={centre}/images/jax-sif-" in done.stdout
    assert f"JAX_SIF_ROOT={centre}\n" in done.stdout
    assert "accel" in done.stdout


def test_its_module_shows_what_the_image_holds(cluster, centre: str) -> None:
    script = 'module use "$1/modulefiles"; module whatis jax-sif 2>&1'
    version = cluster.module.removeprefix("jax-sif/").removesuffix("-cpu")

    assert f"Contents: JAX {version}, " in cluster.bash(script, centre).stdout


def test_its_job_passes_from_any_folder(cluster, centre: str) -> None:
    folder = f"elsewhere {uuid.uuid4().hex[:8]}"
    done = cluster.bash(
        'cd; mkdir "$2"; cd "$2"; module use "$1/modulefiles"; module load jax-sif\n'
        "status=0\n"
        "sbatch --quiet --wait --output=job.out "
        '"$JAX_SIF_ROOT/jobs/G4N1p4.slurm" || status=$?\n'
        'cat job.out; cd ..; rm -r "$2"; exit "$status"',
        centre,
        folder,
        limit_s=300,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert f"image {centre}/images/" in done.stdout
    assert "PASS  " in done.stdout


def test_an_error_names_a_folder_that_the_user_may_not_write(
    cluster, centre: str
) -> None:
    before = cluster.run("find", centre).stdout
    again = cluster.run(*INSTALL, f"{centre}/mine")

    assert 1 == again.returncode
    assert f"cannot write to '{centre}/mine" in again.stderr
    assert "Permission denied; name a folder that you may write to" in again.stderr
    assert before == cluster.run("find", centre).stdout


def test_a_small_disk_is_named_and_left_empty(cluster) -> None:
    done = as_root(
        *("unshare", "--mount", "sh", "-c"),
        'mount -t tmpfs -o size=50m small /mnt; "$@"; status=$?; find /mnt; exit $status',
        *("sh", *INSTALL, "/mnt/centre"),
    )

    assert (1, "/mnt\n") == (done.returncode, done.stdout)
    assert "GB are free: free some, or name a folder with room" in done.stderr


def test_an_unknown_accelerator_is_wrong_usage(cluster) -> None:
    done = cluster.run(*INSTALL, "/tmp/centre", "--accel=cuda21")

    assert 2 == done.returncode
    assert "ACCEL='cuda21' is no accelerator this kit builds for" in done.stderr
