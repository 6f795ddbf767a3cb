"""Only the ranks of a step are in its group: on the real cluster, also for programs that do not use the kit."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time

import pytest

# Four ranks on two nodes, through the image's entry.
STEP = "srun --nodes=2 --ntasks-per-node=2 --gpus-per-node=2 singularity run $JAX_IMAGE"
LOAD = 'cd; module use "$1/modulefiles"; module load "$2"; '


def on_login(cluster, script: str, **variables: str) -> str:
    """A script with the module loaded; returns all it printed, and must end with 0."""
    words = "".join(f"export {name}='{value}'; " for name, value in variables.items())
    checkout = str(cluster.checkout)
    done = cluster.bash(LOAD + words + script, checkout, cluster.module, checkout)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


LOOK = r"""
f=$JAX_MTLS_KEY_FILE
echo "files $f $JAX_MTLS_CERT_FILE $JAX_MTLS_CA_FILE"
echo "mode $(stat -Lc %a:%u $f) of $(id -u)"
echo "kinds $(grep -c "PRIVATE KEY" $f) $(grep -c "BEGIN CERT" $f)"
sleep 1
echo "left $(ls -A /dev/shm /tmp | grep -c "jax-sif-")"
secret=$(od -An -tx1 ~/.config/jax-sif/secret | tr -d " \n")
if env | grep -qi "$secret" || grep -qia "$secret" /proc/$$/cmdline; then echo leaked; fi
"""


def test_the_files_are_private_and_gone_after_the_start(cluster):
    output = on_login(cluster, f"{STEP} bash -c '{LOOK}'")

    assert 4 == output.count("mode 600:"), output
    assert 4 == output.count("kinds 2 2"), output
    assert 4 == output.count("left 0"), output
    assert "leaked" not in output
    owners = {
        line.split(":")[1].split()[0] for line in output.splitlines() if "mode" in line
    }
    users = {line.split()[-1] for line in output.splitlines() if "mode" in line}
    assert owners == users


def test_another_user_cannot_read_them(cluster):
    load = LOAD.replace("$1", str(cluster.checkout)).replace("$2", cluster.module)
    job = ("runuser", "-u", "hpc", "--", "bash", "--login", "-c")
    look = """
        for i in $(seq 100); do
          pid=$(pgrep --exact --full "sleep 4712" | head -n 1)
          if [ -n "$pid" ]; then break; fi
          sleep 0.1
        done
        file=$(tr '\\0' '\\n' < "/proc/$pid/environ" | sed -n s/JAX_MTLS_KEY_FILE=//p)
        file=/proc/$pid/fd/${file##*/}
        runuser -u hpc -- head -c 27 "$file"
        runuser -u munge -- cat "$file"
    """
    with cluster.in_background("login", *job, f"{load}{STEP} sleep 4712"):
        done = cluster.try_on("node1", "bash", "-c", look)

    assert "-----BEGIN PRIVATE KEY-----" == done.stdout
    assert "Permission denied" in done.stderr


def test_a_program_without_the_kit_is_guarded_too(cluster):
    program = "$3/tests/cluster/programs/plain_jax.py"
    output = on_login(
        cluster,
        f"{STEP} python {program}",
        STEP_VALUE="1",
        APPTAINER_BIND=str(cluster.checkout),
        JAX_SIF_VERBOSE="1",
    )

    assert 4 == output.count("sum 4"), output
    assert 4 == output.count("only ranks of step"), output


def test_the_programs_children_find_the_files_too(cluster):
    child = 'import subprocess, sys; sys.exit(subprocess.call(["sh", "-c", "head -c 20 $JAX_MTLS_KEY_FILE"]))'

    output = on_login(cluster, f"{STEP} python -c '{child}'")

    assert 4 == output.count("BEGIN PRIVATE K"), output


@pytest.mark.parametrize("choice", ["off", "on"])
def test_switched_off_the_job_passes_as_well(cluster, choice):
    job = cluster.submit("G4N2p4", JAX_SIF_MTLS=choice)

    assert 0 == job.status, job.output


def test_nodes_that_do_not_share_the_secret_are_named(cluster):
    job = cluster.submit("G4N2p4", JAX_SIF_SECRET_FILE="/tmp/secret-of-the-node")

    assert 1 == job.status, job.output
    kind, ranks = job.cause
    assert ("coordinator-wrong-service", True) == (kind, {2, 3}.issuperset(ranks))
    for node in ("node1", "node2"):
        cluster.on(node, "rm", "/tmp/secret-of-the-node")


def test_without_a_place_for_a_secret_no_rank_starts_unless_the_user_chose_it(cluster):
    """Another node may have one, and would wait for minutes."""
    job = cluster.submit("G4N2p4", JAX_SIF_SECRET_FILE="/proc/secret")
    chosen = cluster.submit(
        "G4N2p4", JAX_SIF_SECRET_FILE="/proc/secret", JAX_SIF_MTLS="off"
    )

    assert 1 == job.status, job.output
    assert "the group cannot be authenticated: /proc" in job.verdict, job.output
    assert 0 == chosen.status, chosen.output


def test_a_node_without_a_home_ends_the_step_at_once_and_is_named(cluster):
    """Its ranks started open, and waited for minutes for a coordinator that wants TLS."""
    place = "/var/tmp/only-on-node1"
    for node, mode in (("node1", 777), ("node2", 755)):
        cluster.on(node, "mkdir", "-m", str(mode), place)
    try:
        began_s = time.monotonic()
        job = cluster.submit(
            "G4N2p4",
            JAX_SIF_SECRET_FILE=f"{place}/folder/secret",
            APPTAINER_BIND="/var/tmp",
        )
    finally:
        for node in ("node1", "node2"):
            cluster.on(node, "rm", "-r", place)

    assert 1 == job.status, job.output
    assert "on node2: the group cannot be authenticated" in job.verdict, job.output
    # Otherwise JAX waits for 300 s; the machine may be busy.
    assert time.monotonic() - began_s < 200


# A stranger on the node: takes the names that can be foreseen, and fills the places.
FILL = """
for name in jax-sif-minicluster.{1..999}.0.0 "jax-sif-$(id -u hpc)" jax-sif-0; do
  mkdir "/dev/shm/$name" "/tmp/$name"
done
cat /dev/zero > /dev/shm/fill; cat /dev/zero > /tmp/fill
df --output=avail /dev/shm /tmp
"""
MOUNT = "mount -t tmpfs -o size=64k,mode=1777,nr_inodes=9999 tmpfs"


@pytest.fixture
def full_places(cluster):
    """Small /dev/shm and /tmp on both nodes, and another user who fills them."""
    for node in ("node1", "node2"):
        cluster.on(node, "sh", "-c", f"{MOUNT} /dev/shm && {MOUNT} /tmp")
    try:
        yield [
            cluster.try_on(node, "runuser", "-u", "munge", "--", "bash", "-c", FILL)
            for node in ("node1", "node2")
        ]
    finally:
        for node in ("node1", "node2"):
            cluster.on(node, "umount", "/dev/shm", "/tmp")


def test_another_user_cannot_take_the_certificates_away(cluster, full_places):
    """Two mkdir, or a full /dev/shm, and the group was open to everybody."""
    look = 'echo "found $(grep -c BEGIN $JAX_MTLS_KEY_FILE)"'

    output = on_login(cluster, f"{STEP} sh -c '{look}'")

    assert 4 == output.count("found 3"), output
    assert "not authenticated" not in output
