"""The watchdog, in a process of its own as in a rank: what it ends, what it says, and what it leaves alone."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import SRC

from jaxsif.core.record_lines import MARKER_BYTES, decode
from jaxsif.core.records import DeadlineExceededRecord, Record

# Times so short that a test takes moments; `emit` writes them as they are.
PREAMBLE = """
import os, signal, sys, threading, time
from jaxsif.core.record_lines import encode
from jaxsif.core.records import RanksAtPosition
from jaxsif.rank import watchdog
AT = {"rank": 5, "step": "box.7.0.0", "node": "node2", "time": 1.0}
from jaxsif.rank.watchdog import Limits
watchdog.WAITING_S, watchdog.COMPARING_S, watchdog._FLUSH_DELAY_S = 0.1, 0.2, 0.0

def emit(record):
    os.write(1, encode(record).encode())

def start(deadline_s=float("inf"), is_lockstep=False, **more):
    more.setdefault("reporting_s", float("inf"))
    phases = dict.fromkeys(("connected", "devices", "end"), deadline_s)
    dog = watchdog.Watchdog(
        emit, lambda: AT, "rank 5 on node2", Limits(phases, 6, 10, is_lockstep, **more)
    )
    dog.start()
    return dog

def stuck_in_a_collective():
    # Waits in C for a lock that is never released, as in a collective.
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + program],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=20,
    )


def recorded(done: subprocess.CompletedProcess[str]) -> list[Record]:
    """The records in the output."""
    lines = done.stdout.encode().splitlines()
    return [decode(line, 0) for line in lines if line.startswith(MARKER_BYTES)]


def test_a_phase_that_takes_too_long_ends_the_process_with_stacks():
    done = run("start(deadline_s=0.3); stuck_in_a_collective()")

    assert 1 == done.returncode
    (record,) = recorded(done)
    assert isinstance(record, DeadlineExceededRecord)
    assert ("connected", 0.3) == (record.missing_phase, record.waited_s)
    assert ("after start", []) == (record.position, record.desynchronized)
    assert "jax-sif: rank 5 on node2: no 'connected' after 0 s" in done.stderr
    assert "in stuck_in_a_collective" in done.stderr
    assert 2 <= done.stderr.count("(most recent call first)")


def test_a_phase_that_is_reached_starts_the_clock_anew():
    done = run(
        """
dog = start(deadline_s=0.4)
for phase, following in (("connected", "devices"), ("devices", "end")):
    time.sleep(0.25)
    dog.reached(phase, following)
print("fine", flush=True)
os._exit(0)
"""
    )

    assert (0, "fine\n", "") == (done.returncode, done.stdout, done.stderr)


def test_without_a_deadline_nothing_happens():
    done = run("start(); time.sleep(0.5); print('fine')")

    assert (0, "fine\n", "") == (done.returncode, done.stdout, done.stderr)


def test_sigterm_ends_a_process_that_waits_in_a_collective():
    done = run(
        """
dog = start()
dog.exit_on_sigterm()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
stuck_in_a_collective()
"""
    )

    assert 143 == done.returncode
    assert "ended by SIGTERM (after start, <string>:" in done.stderr
    assert ["terminated"] == [record.phase for record in recorded(done)]


def test_a_handler_of_the_programs_own_gets_the_sigterm():
    done = run(
        """
start().exit_on_sigterm()
signal.signal(signal.SIGTERM, lambda *_: print("checkpoint", flush=True))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.3)
"""
    )

    assert (0, "checkpoint\n") == (done.returncode, done.stdout)


def test_other_signals_are_none_of_its_business():
    done = run(
        """
start().exit_on_sigterm()
signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.2)
"""
    )

    assert (0, "usr1\n") == (done.returncode, done.stdout)


@pytest.mark.parametrize("is_lockstep", [False, True])
def test_until_it_has_connected_a_rank_reports_at_intervals(is_lockstep):
    done = run(
        f"""
dog = start(is_lockstep={is_lockstep}, reporting_s=0.1)
time.sleep(0.55)
dog.reached("connected", "devices")
print("connected", flush=True)
dog.entered("allreduce")
time.sleep(0.05)
os._exit(0)
"""
    )
    before, after = done.stdout.split("connected\n")

    assert before.count('"position":"after start"') in (2, 3, 4, 5)
    assert "waiting" not in after


def test_a_waiting_rank_reports_and_publishes_its_position():
    done = run(
        """
dog = start(is_lockstep=True)
dog.post = lambda position: print("posted", position, flush=True)
dog.reached("devices", "end")
dog.entered("allreduce")
time.sleep(0.4)
os._exit(0)
"""
    )

    assert ["in allreduce"] == [record.position for record in recorded(done)]
    assert "posted in allreduce" in done.stdout


@pytest.mark.parametrize(
    ("apart", "status"), [("None", 0), ("[RanksAtPosition(1, 'x', [5])]", 1)]
)
def test_ranks_at_different_places_are_ended_and_others_are_not(apart, status):
    done = run(
        f"""
dog = start(is_lockstep=True)
dog.compare = lambda own: {apart}
dog.reached("devices", "end")
time.sleep({30 if status else 0.5})
os._exit(0)
"""
    )

    assert status == done.returncode, done.stderr
    ended = [r for r in recorded(done) if isinstance(r, DeadlineExceededRecord)]
    assert status == len(ended)
    assert all(["x"] == [p.position for p in r.desynchronized] for r in ended)


def test_a_blocked_final_report_does_not_keep_the_process():
    done = run(
        """
watchdog._FINAL_WRITE_TIMEOUT_S = 0.2
emit = lambda record: stuck_in_a_collective()
start(deadline_s=0.2)
stuck_in_a_collective()
"""
    )

    assert 1 == done.returncode


def test_it_can_be_switched_off():
    done = run(
        """
dog = start(deadline_s=0.1, is_watched=False)
dog.exit_on_sigterm()
time.sleep(0.3)
os.kill(os.getpid(), signal.SIGTERM)
# Any thread may be the one that gets it, and later than this one goes on.
time.sleep(30)
"""
    )

    assert -15 == done.returncode
    assert "" == done.stdout


def test_it_sleeps_while_nothing_is_due():
    done = run(
        """
dog = start()
time.sleep(0.3)
before = [t for t in os.listdir("/proc/self/task")]
switches = 0
for task in before:
    if task != str(os.getpid()):
        with open(f"/proc/self/task/{task}/status") as file:
            switches += sum(int(l.split()[1]) for l in file if "ctxt_switches" in l)
print(switches < 20, flush=True)
os._exit(0)
"""
    )

    assert "True\n" == done.stdout
