"""A function in a child process: its result comes back, and it can be abandoned."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from checkout import SRC

from jaxsif.core.errors import Problem
from jaxsif.node.doctor.isolate import (
    CheckCrashed,
    CheckSkipped,
    CheckTimeout,
    run_commands,
    run_with_timeout,
)


def _raise(error: Exception) -> None:
    raise error


def test_the_answer_comes_back_from_another_process():
    pid, problem = run_with_timeout(5.0, lambda: (os.getpid(), Problem("a", "b", "c")))

    assert pid != os.getpid()
    assert Problem("a", "b", "c") == problem


def test_a_long_answer_comes_back_whole():
    assert 3_000_000 == len(run_with_timeout(5.0, lambda: "x" * 3_000_000))


def test_what_never_answers_is_left_behind():
    started_s = time.monotonic()

    with pytest.raises(CheckTimeout):
        run_with_timeout(0.05, signal.pause)

    assert time.monotonic() - started_s < 2


def test_a_child_that_cannot_be_ended_does_not_block(monkeypatch):
    # As one that hangs in the kernel: the signal does nothing.
    killed = []
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))

    with pytest.raises(CheckTimeout):
        run_with_timeout(0.05, signal.pause)

    assert 1 == len(killed)
    kill(killed[0], signal.SIGKILL)
    os.waitpid(killed[0], 0)


def test_why_something_was_not_checked_comes_back():
    with pytest.raises(CheckSkipped) as caught:
        run_with_timeout(
            5.0, lambda: _raise(CheckSkipped("no driver", is_required=True))
        )

    assert ("no driver", True) == (caught.value.reason, caught.value.is_required)


def test_an_unforeseen_exception_comes_back_as_text():
    with pytest.raises(CheckCrashed, match="KeyError: 'uuid'"):
        run_with_timeout(5.0, lambda: _raise(KeyError("uuid")))


def test_a_killed_child_is_distinguished_from_one_that_responds():
    with pytest.raises(CheckCrashed, match="wait status 9"):
        run_with_timeout(5.0, lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_child_left_behind_does_not_hold_the_output_open():
    # A reader of the doctor's output waits until all processes have closed it.
    program = (
        "import os, signal\n"
        "from jaxsif.node.doctor.isolate import CheckTimeout, run_with_timeout\n"
        "os.kill = lambda pid, number: print(pid, flush=True)\n"
        "try:\n"
        "    run_with_timeout(0.05, signal.pause)\n"
        "except CheckTimeout:\n"
        "    print('left')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=10,
    )

    pid, word = done.stdout.split()
    os.kill(int(pid), signal.SIGKILL)
    assert "left" == word


def python(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", program]


def test_commands_run_side_by_side_with_variables_of_their_own():
    show = python(
        "import os, sys; print(os.environ['X']); sys.exit(int(os.environ['X']))"
    )

    first, second = run_commands(show, [{"X": "0"}, {"X": "3"}], 20.0)

    assert (0, "0", 3, "3") == (
        first.status,
        first.last_line,
        second.status,
        second.last_line,
    )


def test_a_command_that_never_ends_is_left_behind_with_its_children():
    program = "import os, signal; os.fork(); signal.pause()"
    started_s = time.monotonic()

    (late,) = run_commands(python(program), [{}], 0.2)

    assert None is late.status
    assert time.monotonic() - started_s < 5
