"""A child of a rank is a process of its own: its signals, exceptions and end are not the rank's; a stand-in takes JAX's place."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from leaving import LEAVES

# As after joining a group, when SIGTERM is the watchdog's.
WATCHED = f"""{LEAVES}
import multiprocessing, os, signal, sys, threading, time
from jaxsif.rank import session
session.current()._watchdog.exit_on_sigterm()
def ended(child): return os.waitpid(child, 0)[1]
"""

CHILDREN = {
    "terminated at once": """
for _ in range(50):
    child = os.fork()
    if child == 0: time.sleep(60)
    os.kill(child, signal.SIGTERM)
    assert ended(child) == signal.SIGTERM
""",
    "terminated, of another thread": """
def work():
    child = os.fork()
    if child == 0: time.sleep(60)
    os.kill(child, signal.SIGTERM)
    assert ended(child) == signal.SIGTERM
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
    "a child's child": """
child = os.fork()
if child == 0:
    child = os.fork()
    if child == 0: time.sleep(60)
    os.kill(child, signal.SIGTERM)
    os._exit(ended(child))
assert ended(child) == signal.SIGTERM << 8
""",
    "raises": """
child = os.fork()
if child == 0: raise RuntimeError("the child fails")
assert ended(child) == 1 << 8
""",
    "exits": """
child = os.fork()
if child == 0: sys.exit(3)
assert ended(child) == 3 << 8
""",
    "comes to its end": """
child = os.fork()
if child: assert ended(child) == 0
""",
    "speaks as the rank": """
child = os.fork()
if child == 0:
    jaxsif.report_speed(1, 1)
    session.current().reporter.done()
    session.current().reporter.failed(ValueError())
    os._exit(0)
assert ended(child) == 0
""",
    "has a handler of its own": """
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
assert ended(child) == 7 << 8
""",
    "a pool": """
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, 2]) == [1, 2]
""",
    "a process": """
process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(3,))
process.start(); process.join()
assert process.exitcode == 3
""",
}


@pytest.mark.parametrize("child", CHILDREN.values(), ids=CHILDREN)
def test_what_happens_to_a_child_is_not_the_ranks(run, child):
    done = run(WATCHED + child + "print('the parent goes on', flush=True)")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "the parent goes on" in done.stdout
    for phase, count in (("done", 1), ("failed", 0), ("terminated", 0), ("speed", 0)):
        assert count == done.stdout.count(f'"phase":"{phase}"'), done.stdout


def test_a_child_that_raises_in_a_reporting_program_is_not_the_rank(run):
    done = run(
        f"{WATCHED}from jaxsif.rank import phase_reporter\n"
        "with phase_reporter():\n"
        "    child = os.fork()\n"
        "    if child == 0: raise RuntimeError('the child fails')\n"
        "    assert os.waitpid(child, 0)[1] == 1 << 8\n"
        "os._exit(0)"
    )

    assert 0 == done.returncode, done.stderr
    assert '"phase":"failed"' not in done.stdout
    assert "RuntimeError: the child fails" in done.stderr


def test_a_handler_of_the_programs_own_is_its_childs_too(run):
    done = run(
        f"{WATCHED}signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
        "child = os.fork()\n"
        "if child == 0: os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
        "assert ended(child) == 7 << 8"
    )

    assert 0 == done.returncode, done.stderr


def test_the_parent_itself_is_still_ended_by_sigterm(run):
    done = run(
        f"{WATCHED}assert os.fork() or os._exit(0) is None\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(15)"
    )

    assert 143 == done.returncode, done.stderr
    assert 1 == done.stdout.count('"phase":"terminated"')


def test_a_child_that_lives_on_does_not_hold_the_output_open(run):
    # As a daemon that gives up what it knows of: the run's end is waited for here.
    done = run(
        f"{WATCHED}child = os.fork()\n"
        "if child == 0:\n"
        "    for number in range(3): os.close(number)\n"
        "    time.sleep(30); os._exit(0)\n"
    )

    assert 0 == done.returncode, done.stderr
