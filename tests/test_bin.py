"""The programs that the module puts on PATH, with a container runtime that tells what it was asked."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BIN = Path(__file__).parent.parent / "bin"
each_program = pytest.mark.parametrize("program", ["jax-sif", "jax-python"])


@pytest.fixture
def site(tmp_path):
    """Variables of a node with an image and a runtime that only prints its arguments."""
    runtime = tmp_path / "runtime" / "apptainer"
    runtime.parent.mkdir()
    runtime.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    runtime.chmod(0o755)
    image = tmp_path / "an image.sif"
    image.touch()
    return {"PATH": f"{runtime.parent}:/usr/bin:/bin", "JAX_IMAGE": str(image)}


def call(program: str, environment: dict[str, str], *arguments: str):
    return subprocess.run(
        [BIN / program, *arguments], env=environment, capture_output=True, text=True
    )


def test_the_tool_runs_in_the_image(site):
    done = call("jax-sif", site, "verify", "a b", "")

    assert ["exec", site["JAX_IMAGE"], "jax-sif", "verify", "a b", ""] == (
        done.stdout.split("\0")[:-1]
    )


def test_the_doctor_is_given_the_driver_where_there_is_one(site):
    done = call("jax-sif", site, "doctor", "--quick")

    nv = ["--nv"] if Path("/dev/nvidiactl").exists() else []
    assert ["exec", *nv, site["JAX_IMAGE"], "jax-sif", "doctor", "--quick"] == (
        done.stdout.split("\0")[:-1]
    )


def test_python_runs_through_the_entry_with_gpus(site):
    done = call("jax-python", site, "-c", "print('x')")

    assert ["run", "--nv", site["JAX_IMAGE"], "python", "-c", "print('x')"] == (
        done.stdout.split("\0")[:-1]
    )


def test_a_link_to_a_program_works(site, tmp_path):
    (tmp_path / "link").symlink_to(BIN / "jax-sif")

    assert call(str(tmp_path / "link"), site).returncode == 0


@each_program
def test_without_the_module_it_says_what_to_load(program, site):
    del site["JAX_IMAGE"]

    done = call(program, site)

    assert done.returncode == 2
    assert "module load jax-sif" in done.stderr


@each_program
def test_a_missing_image_is_named(program, site):
    done = call(program, {**site, "JAX_IMAGE": "/no/such.sif"})

    assert done.returncode == 2
    assert "'/no/such.sif'" in done.stderr


@each_program
def test_without_a_runtime_it_says_where_there_may_be_one(program, site, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "basename", "dirname", "readlink"):
        (tools / tool).symlink_to(shutil.which(tool))

    done = call(program, {**site, "PATH": str(tools)})

    assert done.returncode == 2
    assert "apptainer" in done.stderr


def test_the_site_of_the_centre_is_shown_to_the_tool(site, tmp_path):
    (tmp_path / "site.yaml").touch()
    centre = {**site, "JAX_SIF_HOME": str(tmp_path)}

    done = call("jax-sif", centre, "job")

    bind = ["--bind", f"{tmp_path}/site.yaml"]
    assert ["exec", *bind, site["JAX_IMAGE"], "jax-sif", "job"] == (
        done.stdout.split("\0")[:-1]
    )


def test_a_jobs_folders_are_shown_to_the_tool(site):
    done = call("jax-sif", {**site, "JAX_SIF_BIND": "/data,/scratch"}, "check")

    assert ["exec", "--bind", "/data,/scratch"] == done.stdout.split("\0")[:3]


def test_facts_of_the_host_reach_the_tool(site, tmp_path):
    runtime = tmp_path / "runtime/apptainer"
    runtime.write_text('#!/bin/sh\nprintf "%s" "$JAX_SIF_FACTS"\n')

    done = call("jax-sif", site, "site", "detect")

    assert done.stdout.startswith("host|")


@pytest.mark.parametrize(
    ("runtime", "program", "words"),
    [
        ("pyxis", "srun", ["--overlap", "--nodes=1", "--ntasks=1"]),
        ("podman-hpc", "podman-hpc", ["run", "--rm", "--interactive"]),
    ],
)
def test_the_tool_runs_by_the_runtime_of_the_job(
    site, tmp_path, runtime, program, words
):
    shutil.copy(tmp_path / "runtime/apptainer", tmp_path / "runtime" / program)
    environment = {**site, "JAX_SIF_RUNTIME": runtime, "JAX_IMAGE": "registry/image"}

    told = call("jax-sif", environment, "verify", "a b").stdout.split("\0")[:-1]

    assert words == told[: len(words)]
    assert ["jax-sif", "verify", "a b"] == told[-3:]
    assert any(word.endswith("registry/image") for word in told)


@each_program
def test_an_unknown_runtime_is_answered_with_those_there_are(program, site):
    done = call(program, {**site, "JAX_SIF_RUNTIME": "docker"})

    assert done.returncode == 2
    assert "'docker'; choose apptainer, pyxis or podman-hpc" in done.stderr


def test_a_runtime_that_is_not_there_is_named(site):
    done = call("jax-sif", {**site, "JAX_SIF_RUNTIME": "podman-hpc"}, "info")

    assert done.returncode == 2
    assert "podman-hpc is not on PATH" in done.stderr


# A Slurm whose jobs end at once: `sbatch` notes what it was asked, and leaves a verdict
# and the exit status that stands in the file of that check's name.
SLURM = {
    "sbatch": """
        cat > /dev/null
        echo "$*" >> asked
        number=$(wc -l < asked)
        for word; do case $word in --job-name=*) name=${word#*=} ;; esac; done
        [ ! -e "$name.refused" ] || exit 1
        status=0
        if [ -e "$name.status" ]; then read -r status < "$name.status"; fi
        echo "$status" > "job.$number"
        word=PASS
        if [ "$status" -ne 0 ]; then word=FAIL; fi
        [ -e "$name.silent" ] || echo "$word  what was seen" > "$name-$number.out"
        echo "{}" > "$name-$number.json"
        echo "$number"
    """,
    "scontrol": """
        read -r status < "job.$4"
        state=COMPLETED
        if [ "$status" -ne 0 ]; then state=FAILED; fi
        echo "JobId=$4 JobState=$state Reason=None ExitCode=$status:0 End=now"
    """,
    "scancel": 'echo "$*" > cancelled',
    "apptainer": 'echo "$*" >> tool; echo script',
}
CHECKS = ["G4N1p4", "G4N2p2", "G4N2p4", "allreduce", "bandwidth", "pairs"]


@pytest.fixture
def accept(site, tmp_path):
    """`jax-sif accept` beside such a Slurm."""
    for name, body in SLURM.items():
        program = tmp_path / "runtime" / name
        program.write_text(f"#!/bin/sh\n{body}")
        program.chmod(0o755)

    def run(*words: str):
        return subprocess.run(
            [BIN / "jax-sif", "accept", *words],
            **{"env": site, "cwd": tmp_path, "capture_output": True, "text": True},
        )

    return run


def test_accept_runs_every_check_after_the_one_before(accept, tmp_path):
    done = accept("--partition=gpu")

    assert (0, "") == (done.returncode, done.stderr)
    assert f"PASS  acceptance: {' '.join(CHECKS)}" == done.stdout.splitlines()[-1]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [f"--job-name={c}" for c in CHECKS] == [line.split()[1] for line in asked]
    after = [f"--dependency=afterany:{number}" for number in range(1, 6)]
    assert after == [line.split()[2] for line in asked[1:]]
    rendered = (tmp_path / "tool").read_text().splitlines()
    assert all("--partition=gpu" in line for line in rendered[:6])
    assert "G4N1p4-1.json" in rendered[6] and "pairs-6.json" in rendered[6]


def test_accept_measures_the_nodes_that_it_is_told(accept, tmp_path):
    accept("--topology=G64N16p64", "--partition=gpu")

    rendered = (tmp_path / "tool").read_text().splitlines()[:6]
    assert [False] * 3 + [True] * 3 == ["G64N16p64" in line for line in rendered]
    assert all("--partition=gpu" in line for line in rendered)


def test_accept_names_the_check_that_failed(accept, tmp_path):
    (tmp_path / "pairs.status").write_text("1\n")
    (tmp_path / "G4N2p2.status").write_text("3\n")

    done = accept()

    assert 1 == done.returncode
    assert "pairs      FAIL  what was seen" in done.stdout
    last = "FAIL  acceptance: failed: pairs; could not tell: G4N2p2"
    assert last == done.stdout.splitlines()[-1]


def test_accept_that_could_not_tell_does_not_pass(accept, tmp_path):
    (tmp_path / "G4N2p2.status").write_text("3\n")

    assert 3 == accept().returncode


def test_a_job_that_said_nothing_is_no_pass(accept, tmp_path):
    (tmp_path / "pairs.silent").touch()

    done = accept()

    assert 3 == done.returncode
    assert "pairs      no verdict, status 3; see pairs-6.out" in done.stdout


def test_accept_takes_back_what_it_submitted_when_slurm_refuses_one(accept, tmp_path):
    (tmp_path / "allreduce.refused").touch()

    done = accept()

    assert 2 == done.returncode
    assert "1 2 3" == (tmp_path / "cancelled").read_text().strip()


def test_accept_says_where_it_can_run(site, accept):
    assert 2 == accept("train.py").returncode
    assert "got 'train.py'" in accept("train.py").stderr
