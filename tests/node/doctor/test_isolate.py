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

from jaxsif.core.problem import Problem
from jaxsif.node.doctor.isolate import CheckCrashed, CheckSkipped, CheckTimeout, within


def _raise(error: Exception) -> None:
    raise error


def test_the_answer_comes_back_from_another_process():
    pid, problem = within(5.0, lambda: (os.getpid(), Problem("a", "b", "c")))

    assert pid != os.getpid()
    assert Problem("a", "b", "c") == problem


def test_a_long_answer_comes_back_whole():
    assert 3_000_000 == len(within(5.0, lambda: "x" * 3_000_000))


def test_what_never_answers_is_left_behind():
    started_s = time.monotonic()

    with pytest.raises(CheckTimeout):
        within(0.05, signal.pause)

    assert time.monotonic() - started_s < 2


def test_a_child_that_cannot_be_ended_does_not_block(monkeypatch):
    # As one that hangs in the kernel: the signal does nothing.
    killed = []
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))

    with pytest.raises(CheckTimeout):
        within(0.05, signal.pause)

    assert 1 == len(killed)
    kill(killed[0], signal.SIGKILL)
    os.waitpid(killed[0], 0)


def test_why_something_was_not_checked_comes_back():
    with pytest.raises(CheckSkipped) as caught:
        within(5.0, lambda: _raise(CheckSkipped("no driver", is_needed=True)))

    assert ("no driver", True) == (caught.value.reason, caught.value.is_needed)


def test_an_unforeseen_exception_comes_back_as_text():
    with pytest.raises(CheckCrashed, match="KeyError: 'uuid'"):
        within(5.0, lambda: _raise(KeyError("uuid")))


def test_a_killed_child_is_distinguished_from_one_that_responds():
    with pytest.raises(CheckCrashed, match="wait status 9"):
        within(5.0, lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_child_left_behind_does_not_hold_the_output_open():
    # A reader of the doctor's output waits until all processes have closed it.
    program = (
        "import os, signal\n"
        "from jaxsif.node.doctor.isolate import CheckTimeout, within\n"
        "os.kill = lambda pid, number: print(pid, flush=True)\n"
        "try:\n"
        "    within(0.05, signal.pause)\n"
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
