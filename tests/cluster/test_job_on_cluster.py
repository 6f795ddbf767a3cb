"""jax-sif job on a real Slurm: what it prints is submitted as it is, from the login node, by a pipe."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cluster import Job

READY = (
    'cd; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"\n'
)
SCRIPT = Path("/home/hpc/job-test.slurm")


def submit(
    cluster, *words: str, options: tuple[str, ...] = (), before: str = ""
) -> Job:
    """Writes a script with `jax-sif job`, as a user of the login node, and submits it."""
    done = cluster.bash(
        f'{READY}{before}jax-sif job "${{@:3}}" > {SCRIPT}',
        str(cluster.checkout),
        cluster.module,
        *words,
    )
    assert 0 == done.returncode, done.stderr
    return cluster.submit(SCRIPT, *options, APPTAINER_BIND=str(cluster.checkout))


def program(cluster, name: str) -> str:
    return str(cluster.checkout / "tests/cluster/programs" / name)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("debug", "G4N1p1: 1 process on 1 node (node1), 4 cpu devices"),
        ("small", "G16N2p2: 2 processes on 2 nodes (node1, node2), 16 cpu devices"),
    ],
)
def test_profiles_that_fit_here_pass(cluster, profile, words):
    job = submit(cluster, profile)

    assert 0 == job.status, job.output
    assert f"PASS  {words}, no GPU" in job.output


def test_arguments_arrive_at_every_rank_unchanged(cluster):
    arguments = [
        "a  b",
        "",
        "$HOME `id` $(id)",
        "'\"\\",
        "*",
        "é日😀",
        "two\nlines",
        "-n",
    ]

    job = submit(cluster, "G2N2p2", program(cluster, "arguments.py"), *arguments)

    assert 0 == job.status, job.output
    lines = [x for x in job.output.splitlines() if x.startswith("[")]
    assert [arguments] * 2 == [json.loads(line) for line in lines]
    assert "NO VERDICT" in job.output


def test_a_healthy_program_that_prints_frightening_text_is_left_alone(cluster):
    """H1 and M5: 3 s of silence after each caught exception, for a minute."""
    job = submit(cluster, "G4N2p4", program(cluster, "frightening.py"), "20")

    assert 0 == job.status, job.output
    assert 4 == job.output.splitlines().count("trained")
    assert "ending it" not in job.output
    assert "NO VERDICT" in job.output


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        (
            "plain_raises.py",
            1,
            "rank 2 on node2 ended in an exception: ValueError: no such data",
        ),
        (
            "plain_exits.py",
            7,
            "rank 3 on node2: Exited with exit code 7 (reported by srun)",
        ),
    ],
)
def test_a_program_without_the_kit_that_fails_is_named(cluster, name, status, words):
    job = submit(cluster, "G4N2p4", program(cluster, name))

    assert status == job.status, job.output
    assert f"FAIL  G4N2p4: {words}" == job.verdict
    assert "never reported" not in job.output


def test_a_directive_arrives_at_sbatch_unchanged(cluster):
    value = """a b's "q" \\ $HOME `id` # ; | & é日 %x [x]{y}*? a=b,c! \\"""

    done = cluster.bash(
        READY + 'jax-sif job G4N1p4 "--sbatch=--comment=$3" > job-test.slurm\n'
        "job=$(sbatch --parsable --hold --output=/dev/null job-test.slurm)\n"
        'scontrol show job "$job" --json\nscancel "$job"\n',
        str(cluster.checkout),
        cluster.module,
        value,
    )

    assert 0 == done.returncode, done.stderr
    assert value == json.loads(done.stdout)["jobs"][0]["comment"]


def test_a_program_that_is_notified_of_its_time_limit_ends_well(cluster):
    """Also in an image that is mounted by a process which the signal reaches too."""
    make_record = (
        'cd /home/hpc; until [ "$(ls | grep -c ^waiting-)" = 4 ]; do sleep 0.2; done;'
        " rm waiting-*; scancel --name=waits_for_signal --signal=URG"
    )
    with cluster.in_background("login", "sh", "-c", make_record):
        job = submit(cluster, "G4N2p4", program(cluster, "waits_for_signal.py"))

    assert 0 == job.status, job.output
    assert 4 == job.output.splitlines().count("notified")
    assert "PASS  G4N2p4" in job.output


@pytest.mark.parametrize(
    ("words", "options", "complaint"),
    [
        (
            ["G4N2p4"],
            ("--nodes=1", "--ntasks-per-node=2"),
            "the job has 1 nodes, G4N2p4 (2 nodes x 2 processes x 1 devices) asks for 2",
        ),
        (
            ["G4N2p4"],
            ("--gpus-per-node=4",),
            "the job has 4 GPUs on node1, G4N2p4 (2 nodes x 2 processes x 1 devices)"
            " asks for 2 on each node",
        ),
        (
            ["G4N2p4", "nothere.py"],
            "",
            "'nothere.py' does not exist in the container",
        ),
    ],
)
def test_a_job_that_cannot_work_ends_before_its_ranks_start(
    cluster, words, options, complaint
):
    job = submit(cluster, *words, options=options)

    assert 1 == job.status, job.output
    assert f"FAIL  G4N2p4: {complaint}" in job.output
    assert "ranks started" not in job.output


def test_a_site_that_was_detected_is_one_that_works(cluster):
    job = submit(
        cluster,
        "G4N1p4",
        "--site=./detected.yaml",
        before="jax-sif site detect > detected.yaml\n",
    )
    drafted = cluster.run("sh", "-c", "cd; cat detected.yaml job-test.slurm").stdout

    assert 0 == job.status, job.output
    assert "  partition: gpu\n" in drafted and "  type: a100\n" in drafted
    assert "#SBATCH --partition=gpu\n" in drafted
    assert "#SBATCH --gpus-per-node=a100:4\n" in drafted
