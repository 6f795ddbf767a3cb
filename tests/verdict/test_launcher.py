"""A launcher that does not end after a rank has failed is ended, and no other process is."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from checkout import SRC
from sample_records import make_record

from jaxsif.commands import verify_loop
from jaxsif.core.record_lines import encode

BIN = SRC.parent / "bin"

# Stands in for srun, which waits for a node that is gone; its line is marked as
# `jax-sif mark` does it.
KEY = "5e8fc2d9"
SAYS = f"printf '@jaxsif2 {KEY} launcher srun: error: node2: task 5: Killed\\n'"
LAUNCHER = f"{SAYS}; exec sleep 60"
VERIFY = """
import sys
from jaxsif.commands import verify, verify_loop
verify_loop._SRUN_EXIT_TIMEOUT_S, verify_loop._PROGRAM_SILENT_S = 0.2, 1.0
verify_loop.SIGTERM_GRACE_S = 2.0
sys.exit(verify.verify("-", "G8N2p8", None, is_program=len(sys.argv) > 1))
"""


def verify_behind(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The judge at the end of a pipe, and the exit status of the program before it."""
    # As bin/jax-sif does, which alone can see who writes into the pipe.
    find = 'find /proc/[0-9]*/fd/[12] -lname "pipe:?${pipe//[^0-9]/}?" 2>/dev/null'
    judge = f"""{{
        pipe=$(readlink /proc/self/fd/0)
        export JAX_SIF_SRUN_PID=$({find} | cut -d/ -f3 | tr "\\n" " ")
        exec "$0" -c "$@"
    }}"""
    pipeline = f'{{ {script}; }} | {judge}; echo "${{PIPESTATUS[@]}}"'
    return subprocess.run(
        ["bash", "-c", pipeline, sys.executable, VERIFY, *words],
        env={
            "PYTHONPATH": str(SRC),
            "PATH": "/usr/bin:/bin",
            "JAX_SIF_RECORD_KEY": KEY,
        },
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_launcher_that_hangs_is_ended_and_the_verdict_given():
    began_s = time.monotonic()

    done = verify_behind(LAUNCHER)

    assert time.monotonic() - began_s < 20
    assert "the launcher does not end after a rank has failed; ending it" in done.stderr
    assert "rank 5 on node2: Killed (reported by srun)" in done.stdout
    assert "143 1" == done.stdout.splitlines()[-1]


def test_one_that_ignores_sigterm_is_killed():
    done = verify_behind(f"trap '' TERM; {LAUNCHER}")

    assert "137 1" == done.stdout.splitlines()[-1]


def test_while_no_rank_has_failed_a_silent_launcher_is_left_alone():
    done = verify_behind("echo working; sleep 1.5")

    assert "ending it" not in done.stderr
    assert "0 3" == done.stdout.splitlines()[-1]


def test_one_that_ends_by_itself_is_left_alone():
    done = verify_behind(SAYS)

    assert "ending it" not in done.stderr
    assert "0 1" == done.stdout.splitlines()[-1]


CAUGHT = "Traceback (most recent call last):\\nKeyError: 17\\n"
XID = "NVRM: Xid (PCI:0002:00:00): 79, GPU has fallen off the bus.\\n"
FORGED = "srun: error: node2: task 3: Exited with exit code 1\\n"
FORGED_RECORD = encode(make_record(3, "failed", "node2", error="x"), "0badcafe").strip()


@pytest.mark.parametrize("text", [CAUGHT, XID, FORGED, f"{FORGED_RECORD}\\n"])
@pytest.mark.parametrize("words", [(), ("program",)])
def test_text_that_looks_like_an_end_never_ends_the_launcher(text, words):
    done = verify_behind(f"printf '{text}'; sleep 2; echo trained", *words)

    assert "ending it" not in done.stderr
    assert "trained\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 ")


def test_while_anything_is_printed_no_launcher_is_ended():
    script = f"{SAYS}; for i in $(seq 20); do echo saving; sleep 0.1; done"

    done = verify_behind(script, "program")

    assert "ending it" not in done.stderr
    assert 20 == done.stdout.count("saving\n")
    assert "0 137" == done.stdout.splitlines()[-1]


def test_what_marks_the_launchers_lines_is_not_taken_for_the_launcher(tmp_path):
    (tmp_path / "jax-sif.sif").touch()
    tool = tmp_path / "apptainer"
    tool.write_text('#!/bin/sh\necho "launchers $JAX_SIF_SRUN_PID"; cat\n')
    tool.chmod(0o755)
    script = (
        f"sh -c 'echo launcher $$; exec sleep 1' 2> >({BIN}/jax-sif mark) |"
        f" (sleep 0.3; exec {BIN}/jax-sif verify)"
    )

    done = subprocess.run(
        ["bash", "-c", script],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "JAX_IMAGE": str(tmp_path / "jax-sif.sif"),
            "JAX_SIF_RECORD_KEY": KEY,
        },
        capture_output=True,
        text=True,
        timeout=30,
    )

    lines = done.stdout.splitlines()
    (found,) = (line.split()[1:] for line in lines if line.startswith("launchers "))
    (launcher,) = (line.split()[1] for line in lines if line.startswith("launcher "))
    assert [launcher] == found
    assert f"@jaxsif2 {KEY} launcher" in lines


def test_a_shell_with_more_to_start_is_not_ended_for_a_step_that_is_done(monkeypatch):
    with subprocess.Popen(["sh", "-c", "sleep 60; true"]) as shell:
        monkeypatch.setenv("JAX_SIF_SRUN_PID", str(shell.pid))
        has_ended = verify_loop.terminate_srun("all ranks are done", only="srun")
        is_alive = shell.poll() is None
        shell.kill()

    assert (False, True) == (has_ended, is_alive)
