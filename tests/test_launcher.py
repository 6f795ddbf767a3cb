"""A launcher that does not end after a rank has failed is ended, and nobody else is."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"

# Stands in for srun, which waits for a node that is gone.
LAUNCHER = "printf 'srun: error: node2: task 5: Killed\\n'; exec sleep 60"
VERIFY = """
import sys
from jaxsif import launcher, verify
verify._LAUNCHER_SILENT_S, launcher._GRACE_S = 0.2, 2.0
sys.exit(verify.verify("-", "G8N2p8", None))
"""


def verify_behind(script: str) -> subprocess.CompletedProcess[str]:
    """The judge at the end of a pipe, and the exit status of the program before it."""
    # As bin/jax-sif does, which alone can see who writes into the pipe.
    find = 'find /proc/[0-9]*/fd/[12] -lname "pipe:?${pipe//[^0-9]/}?" 2>/dev/null'
    judge = f"""{{
        pipe=$(readlink /proc/self/fd/0)
        export JAX_SIF_LAUNCHER=$({find} | cut -d/ -f3 | tr "\\n" " ")
        exec "$0" -c "$1"
    }}"""
    pipeline = f'{{ {script}; }} | {judge}; echo "${{PIPESTATUS[@]}}"'
    return subprocess.run(
        ["bash", "-c", pipeline, sys.executable, VERIFY],
        env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_launcher_that_hangs_is_ended_and_the_verdict_spoken():
    began_s = time.monotonic()

    done = verify_behind(LAUNCHER)

    assert time.monotonic() - began_s < 20
    assert "the launcher does not end after a rank has failed; ending it" in done.stderr
    assert "rank 5 on node2: Killed, says srun" in done.stdout
    assert "143 1" == done.stdout.splitlines()[-1]


def test_one_that_does_not_hear_sigterm_is_killed():
    done = verify_behind(f"trap '' TERM; {LAUNCHER}")

    assert "137 1" == done.stdout.splitlines()[-1]


def test_while_no_rank_has_failed_a_silent_launcher_is_left_alone():
    done = verify_behind("echo working; sleep 1.5")

    assert "ending it" not in done.stderr
    assert "0 3" == done.stdout.splitlines()[-1]


def test_one_that_ends_by_itself_is_left_alone():
    done = verify_behind("printf 'srun: error: node2: task 5: Killed\\n'")

    assert "ending it" not in done.stderr
    assert "0 1" == done.stdout.splitlines()[-1]
