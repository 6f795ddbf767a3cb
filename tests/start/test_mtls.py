"""What a program finds that the entry has started with certificates, and when it is not started at all."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

ENTRY = ROOT / "src/jaxsif/start/entry"
SHARED = Path("/dev/shm"), Path("/tmp")
MTLS = ("CERT_FILE", "KEY_FILE", "CA_FILE", "PEER_URI_PREFIX")

STEP = {
    "PATH": "/usr/bin:/bin",
    # There is no image, so its Python is named, as jax-sif launch does.
    "JAX_SIF_PYTHON": sys.executable,
    "SLURM_CLUSTER_NAME": "box",
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURMD_NODENAME": "node2",
    "CUDA_VISIBLE_DEVICES": "",
}
ONE_NODE = {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "2"}


@pytest.fixture
def step(tmp_path) -> dict[str, str]:
    return {**STEP, "HOME": str(tmp_path)}


def enter(
    environment: dict[str, str], *command: str, **options: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ENTRY), *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


SHOW = 'echo "$JAX_MTLS_CERT_FILE"; grep -c "BEGIN" "$JAX_MTLS_CERT_FILE"; sleep "$0"'


def is_guarded(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether SHOW found a key and two certificates."""
    return (0, "3") == (done.returncode, done.stdout.strip().rpartition("\n")[2])


def test_names_that_another_user_took_first_do_not_matter(step):
    """Two mkdir of foreseeable names took the certificates away."""
    taken = [place / "jax-sif-box.7.0.0" for place in SHARED]
    mine = [place / f"jax-sif-{os.getuid()}" for place in SHARED]
    made = [path for path in (*taken, *mine) if not path.exists()]
    for path in made:
        path.write_text("")
    try:
        assert is_guarded(enter(step, "sh", "-c", SHOW, "0"))
    finally:
        for path in made:
            path.unlink()


@pytest.mark.parametrize(
    "name", ["results", "checkpoints", "paper", "env-abc123", "box.6.0.0"]
)
def test_nothing_in_a_shared_place_is_removed_or_left(step, tmp_path, name):
    """A user's folder jax-sif-results in /dev/shm was deleted with all it held."""
    unique = f"jax-sif-{name}-{os.getpid()}"
    folders = [place / unique for place in (*SHARED, tmp_path)]
    try:
        for folder in folders:
            folder.mkdir()
            (folder / "loss.csv").write_text("mine")
            os.utime(folder, (0, 0))
        before = [set(os.listdir(place)) for place in SHARED]

        assert is_guarded(
            enter({**step, "TMPDIR": str(tmp_path)}, "sh", "-c", SHOW, "0")
        )

        assert all((folder / "loss.csv").read_text() == "mine" for folder in folders)
        new = set.union(*(set(os.listdir(p)) - b for p, b in zip(SHARED, before)))
        assert not {name for name in new if name.startswith("jax-sif")}
    finally:
        for folder in folders:
            (folder / "loss.csv").unlink(missing_ok=True)
            folder.rmdir()


def test_the_file_is_the_users_alone_and_children_find_it(step):
    child = 'sh -c "stat -Lc %a:%u $JAX_MTLS_KEY_FILE; cat $JAX_MTLS_KEY_FILE"; :'

    done = enter(step, "sh", "-c", child)

    mode, _, text = done.stdout.partition("\n")
    assert f"600:{os.getuid()}" == mode
    secret = Path(step["HOME"], ".config/jax-sif/secret")
    assert 0o600 == stat.S_IMODE(secret.stat().st_mode)
    assert secret.read_bytes().hex() not in text
    assert text.startswith("-----BEGIN PRIVATE KEY-----")


def test_every_descriptor_of_the_programs_is_kept(step, tmp_path):
    """PMI-2, for one, hands its socket on by number."""
    files = [os.open(tmp_path / str(n), os.O_CREAT | os.O_RDWR) for n in range(20)]
    try:
        look = f"readlink $(printf '/proc/self/fd/%s ' {' '.join(map(str, files))})"
        done = enter(step, "sh", "-c", look, pass_fds=files)
    finally:
        for number in files:
            os.close(number)

    assert [str(tmp_path / str(n)) for n in range(20)] == done.stdout.splitlines()


def test_nothing_else_of_the_environment_changes(step):
    # Python sets LC_CTYPE where there is no locale.
    off = enter({**step, "JAX_SIF_MTLS": "off"}, "env", "-0").stdout.split("\0")
    on = enter(step, "env", "-0").stdout.split("\0")

    def names(items: list[str]) -> set[str]:
        return {item.partition("=")[0] for item in items}

    assert {f"JAX_MTLS_{name}" for name in MTLS} == names(on) - names(off)
    assert {"JAX_SIF_MTLS"} == names(off) - names(on)


def test_arguments_and_exit_status_pass_unchanged(step):
    awkward = ["a b", "", "*", "$HOME", "'\"", "line\nbreak", "ü", "-c", "\udcff"]

    done = subprocess.run(
        [str(ENTRY), "sh", "-c", 'printf "%s\\0" "$@"; exit 7', "sh", *awkward],
        env=step,
        capture_output=True,
    )

    assert awkward == [os.fsdecode(x) for x in done.stdout.split(b"\0")][:-1]
    assert done.returncode == 7


def test_a_program_starts_as_a_shell_starts_it(step, tmp_path):
    bare = tmp_path / "bare"
    bare.write_text("echo without a first line\n")
    closed = tmp_path / "closed"
    closed.write_text("")
    bare.chmod(0o755)

    assert "without a first line\n" == enter(step, str(bare)).stdout
    assert 127 == enter(step, "no-such-program").returncode
    assert 126 == enter(step, str(closed)).returncode


def test_a_closed_pipe_ends_the_program_as_ever(step):
    # Python ignores SIGPIPE, and what is ignored stays so.
    ignored = enter(step, "grep", "SigIgn", "/proc/self/status").stdout.split()[1]

    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not int(ignored, 16) >> (number - 1) & 1


FIRST = {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURMD_NODENAME": "node1"}


def test_all_ranks_of_a_step_ask_for_one_name(step):
    ask = "printenv", "JAX_MTLS_PEER_URI_PREFIX"

    prefixes = {enter(rank, *ask).stdout for rank in (step, {**step, **FIRST})}

    assert {"spiffe://jax-sif/box.7.0.0/\n"} == prefixes


@pytest.mark.parametrize(
    "names",
    [
        {"JAX_COORDINATOR_ADDRESS": "größe:5555"},
        {"JAX_COORDINATOR_ADDRESS": "[fd00::1]:5555"},
        {"JAX_COORDINATOR_ADDRESS": f"{'x' * 300}:5555"},
        {"JAX_COORDINATOR_ADDRESS": "..:5555"},
        {"JAX_COORDINATOR_ADDRESS": "a\udcffb:5555"},
        {"SLURM_CLUSTER_NAME": "Großrechner 1"},
        {"SLURM_CLUSTER_NAME": "a\udcffb"},
    ],
)
def test_odd_names_have_certificates_too(step, names):
    """A name that is not ASCII cost every rank a traceback, and the certificates."""
    done = enter({**step, **names}, "sh", "-c", SHOW, "0")

    assert is_guarded(done), done.stderr


NO_SECRET = {"JAX_SIF_SECRET_FILE": "/proc/secret"}


@pytest.mark.parametrize("place", [{}, FIRST])
@pytest.mark.parametrize("home", [NO_SECRET, {"HOME": "/dev/null"}])
def test_a_rank_that_can_have_no_secret_does_not_start(step, place, home):
    """Another node may have one, and its ranks would wait for minutes."""
    rank = {**step, **home, **place}

    done = enter(rank, "echo", "started")
    chosen = enter({**rank, "JAX_SIF_MTLS": "off"}, "echo", "started")

    who = f"rank {rank['SLURM_PROCID']} on {rank['SLURMD_NODENAME']}"
    assert (1, "") == (done.returncode, done.stdout)
    assert f"{who}: the group cannot be authenticated: " in done.stderr
    assert "JAX_SIF_MTLS=off" in done.stderr
    assert 1 == done.stderr.count("\n")
    assert (0, "started\n", "") == (chosen.returncode, chosen.stdout, chosen.stderr)


def test_the_kits_own_tool_joins_no_group_and_needs_none(step, tmp_path):
    tool = tmp_path / "jax-sif"
    tool.write_text('#!/bin/sh\necho "[$JAX_MTLS_CERT_FILE]"\n')
    tool.chmod(0o755)

    done = enter({**step, **NO_SECRET}, str(tool), "doctor")

    assert (0, "[]\n", "") == (done.returncode, done.stdout, done.stderr)


def without_home(step: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in step.items() if name != "HOME"}


def test_where_no_rank_can_have_a_secret_the_group_starts_with_a_warning(step):
    alike = [{**step, **ONE_NODE, **NO_SECRET}, without_home(step)]
    for homeless in alike:
        first = enter(homeless, "sh", "-c", 'echo "[$JAX_MTLS_CERT_FILE]"')
        second = enter({**homeless, "SLURM_LOCALID": "1"}, "echo", "started")
        strict = enter({**homeless, "JAX_SIF_MTLS": "required"}, "echo", "started")

        assert (0, "[]\n") == (first.returncode, first.stdout)
        assert "on node2: the group is not authenticated: " in first.stderr
        assert (0, "started\n", "") == (second.returncode, second.stdout, second.stderr)
        assert (1, "") == (strict.returncode, strict.stdout)


@pytest.mark.parametrize(("content", "mode"), [(b"s" * 32, 0o644), (b"short", 0o600)])
def test_a_secret_that_others_may_know_stops_the_group_anywhere(
    step, tmp_path, content, mode
):
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    secret.chmod(mode)

    done = enter(
        {**step, **ONE_NODE, "JAX_SIF_SECRET_FILE": str(secret)}, "echo", "started"
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert "remove it, and a new one is made" in done.stderr
    assert content == secret.read_bytes()


def test_a_python_that_cannot_make_certificates_starts_nothing(step):
    done = enter({**step, "JAX_SIF_PYTHON": "/no-such-python"}, "echo", "started")

    assert (127, "") == (done.returncode, done.stdout)


def test_each_choice_is_printed_with_its_reason(step):
    done = enter({**step, "JAX_SIF_VERBOSE": "1"}, "true")

    assert "(only ranks of step box.7.0.0 can join)" in done.stderr
