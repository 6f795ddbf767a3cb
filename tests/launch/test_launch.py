"""The command line of `jax-sif launch`, and errors before any rank starts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys

import pytest
from run_launch import launch

from jaxsif.commands.launch import duration_s
from jaxsif.core.errors import UsageError
from jaxsif.launch.launch import ENTRY, ProgramNotFound, command

SHOW = 'printf "%s\\n" "$@"'


@pytest.mark.parametrize(
    "words",
    [
        ("G1N1p1", "--", "sh", "-c", SHOW, "sh", "--label", "a b", "--"),
        ("G1N1p1", "sh", "-c", SHOW, "sh", "--label", "a b", "--"),
        ("--grace", "1s", "G1N1p1", "sh", "-c", SHOW, "sh", "--label", "a b", "--"),
        ("G1N1p1", "--grace=1s", "--", "sh", "-c", SHOW, "sh", "--label", "a b", "--"),
    ],
)
def test_options_end_where_the_program_begins(words):
    done = launch(*words)

    assert (0, ["--label", "a b", "--"]) == (done.returncode, done.stdout.splitlines())


def test_options_before_and_after_the_topology_count():
    done = launch("--label", "G2N2p2", "--skip-rank", "1", "--", "echo", "text")

    assert "0 node1| text\n" == done.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "no topology; for example G4N2p4"),
        (("G1N1p1",), "no program; write it after the topology"),
        (("G1N1p1", "--"), "no program; write it after the topology"),
        (("G1N1p1", "--wrong", "true"), "unrecognized arguments"),
        (("--packages", "x.sqsh", "G1N1p1", "true"), "launch --packages FILE G4N2p4"),
        (("true",), "unknown topology 'true'; write it as G8N2p4"),
        (("--", "true"), "unknown topology '--'"),
        (("G3N2p3", "true"), "3 processes do not divide over 2 nodes"),
        (("--grace", "soon", "G1N1p1", "true"), "invalid duration 'soon'"),
        (("G1N1p1", "--kill-rank", "1", "true"), "the topology has ranks 0 to 0"),
        (("--devices", "tpu", "G1N1p1", "true"), "invalid choice: 'tpu'"),
        (("--devices", "gpu", "G1N1p1", "true"), "this machine shows 0 (none)"),
    ],
)
def test_wrong_usage_is_reported_before_any_rank_starts(words, complaint):
    done = launch(*words, CUDA_VISIBLE_DEVICES="")

    assert (2, "") == (done.returncode, done.stdout)
    assert complaint in done.stderr


def test_a_program_that_is_not_there_has_the_status_that_a_shell_gives():
    done = launch("G2N1p2", "--", "no-such-program")

    assert (127, "") == (done.returncode, done.stdout)
    assert "jax-sif: cannot run 'no-such-program': no such program" in done.stderr
    assert "rank  node" not in done.stderr


def test_a_python_file_is_run_with_python(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(
        "import os, sys; print(os.environ['SLURM_NTASKS'], sys.argv[1:])"
    )

    done = launch("G2N1p2", program, "--epochs", "3")

    assert "2 ['--epochs', '3']\n" * 2 == done.stdout


def test_a_missing_python_file_is_reported_once():
    with pytest.raises(ProgramNotFound) as raised:
        command(["nowhere.py"])

    assert 127 == raised.value.exit_status
    assert "no such file" in str(raised.value)


@pytest.mark.parametrize(
    ("on_path", "expected"),
    [({"python", "python3"}, "python"), ({"python3"}, "python3")],
)
def test_the_python_on_path_is_taken_whatever_its_name(tmp_path, on_path, expected):
    (tmp_path / "x.py").touch()

    found = command(
        [str(tmp_path / "x.py")], which=lambda name: name if name in on_path else None
    )

    assert ["/bin/sh", str(ENTRY), expected, str(tmp_path / "x.py")] == found


def test_without_any_python_it_says_what_to_do(tmp_path):
    (tmp_path / "x.py").touch()

    with pytest.raises(ProgramNotFound, match="activate an environment"):
        command([str(tmp_path / "x.py")], which=lambda name: None)


def test_the_ranks_pass_through_the_images_entry():
    said = 'echo "$JAX_COORDINATOR_ADDRESS"; echo "$no_grpc_proxy"'

    on = launch("G1N1p1", "--", "sh", "-c", said, http_proxy="http://proxy:3128")
    off = launch(
        *("G1N1p1", "--", "sh", "-c", said),
        http_proxy="http://proxy:3128",
        JAX_SIF_ENTRY="off",
    )

    assert "127.0.0.1" == on.stdout.splitlines()[1]
    assert "" == off.stdout.splitlines()[1]


def test_two_launches_at_once_have_ports_and_ids_of_their_own():
    inner = "echo $SLURM_JOB_ID $JAX_COORDINATOR_ADDRESS"
    # A launch within a launch, while the outer one goes on.
    script = f'{inner}; exec "$0" -m jaxsif launch G1N1p1 -- sh -c "$1"'

    done = launch("G1N1p1", "--", "sh", "-c", script, sys.executable, inner)

    (outer_id, outer_port), (inner_id, inner_port) = map(
        str.split, done.stdout.splitlines()
    )
    assert (0, True, True) == (
        done.returncode,
        outer_id != inner_id,
        outer_port != inner_port,
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2s", 2), ("500ms", 0.5), ("1m", 60), ("1.5h", 5400), ("90", 90), ("0", 0)],
)
def test_durations_are_written_with_their_unit(text, seconds):
    assert seconds == duration_s(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "2 s", "1d", "nan", "1e3"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError, match="expected for example 2s, 500ms, 1m"):
        duration_s(text)
