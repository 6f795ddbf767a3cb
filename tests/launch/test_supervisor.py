"""How a launch ends: failures, signals, a killed launcher; and the exit status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from run_launch import (
    LIMIT_S,
    command,
    environment,
    launch,
    start,
    wait_for,
    wait_until_gone,
)

FOREVER = "while :; do sleep 0.1; done"
# Rank 1 fails as soon as rank 0 has prepared for what comes.
READY = 'echo $$ > "$0.$SLURM_PROCID"; '
FAILS = 'if [ $SLURM_PROCID = 1 ]; then until [ -s "$0.0" ]; do sleep 0.02; done; exit 3; fi; '
# A rank and a child of its, which say their numbers and stay.
WRITES_PIDS = 'sleep 600 & echo $$ $! > "$0.$SLURM_PROCID"; '


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(autouse=True)
def nothing_ignored():
    """A launch ignores what was ignored before it, as under nohup: here nothing is."""
    ignored = [n for n, _ in SIGNALS if signal.getsignal(n) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def rows(errors: str) -> dict[str, str]:
    """How each rank ended, by the summary."""
    table = errors.partition("rank  node ")[2].splitlines()[1:]
    return {row.split()[0]: " ".join(row.split()[1:-2]) for row in table}


def test_when_all_ranks_are_well_the_launch_is():
    done = launch("G4N2p4", "--", "true")

    assert 0 == done.returncode
    assert {
        "0": "node1 success",
        "1": "node1 success",
        "2": "node2 success",
        "3": "node2 success",
    } == rows(done.stderr)


def test_the_first_failure_ends_the_rest_and_its_status_is_the_launchs():
    done = launch(
        "G4N2p4", "--", "sh", "-c", f"[ $SLURM_PROCID != 2 ] || exit 7; {FOREVER}"
    )

    assert 7 == done.returncode
    assert (
        "jax-sif launch: error: node2: task 2: Exited with exit code 7\n" in done.stderr
    )
    assert {
        "0": "node1 Terminated, by the launcher",
        "1": "node1 Terminated, by the launcher",
        "2": "node2 Exited with exit code 7",
        "3": "node2 Terminated, by the launcher",
    } == rows(done.stderr)


def test_a_rank_that_dies_of_a_signal_gives_the_status_that_a_shell_would():
    done = launch(
        "G2N1p2", "--", "sh", "-c", f"[ $SLURM_PROCID = 0 ] || kill -SEGV $$; {FOREVER}"
    )

    assert 128 + signal.SIGSEGV == done.returncode
    assert "error: node1: task 1: Segmentation fault\n" in done.stderr


def test_a_rank_that_ignores_sigterm_is_killed_after_the_grace(tmp_path):
    script = f"{FAILS} trap '' TERM; {READY} {FOREVER}"

    done = launch(
        *("G2N1p2", "--grace", "300ms", "--", "sh", "-c", script, tmp_path / "ready")
    )

    assert 3 == done.returncode
    assert "node1 Killed, by the launcher" == rows(done.stderr)["0"]


def test_the_last_output_of_an_ended_rank_and_its_end_are_shown(tmp_path):
    script = f"{FAILS} trap 'echo saved; exit 9' TERM; {READY} {FOREVER}"

    done = launch("G2N1p2", "--", "sh", "-c", script, tmp_path / "ready")

    assert (3, "saved\n") == (done.returncode, done.stdout)
    assert "node1 Exited with exit code 9" == rows(done.stderr)["0"]


def test_the_children_of_a_rank_end_with_it(tmp_path):
    launched = start(
        "G2N1p2", "--", "sh", "-c", f"{WRITES_PIDS} wait", tmp_path / "pid"
    )
    processes = wait_for(tmp_path / "pid", 2)

    launched.terminate()

    assert 143 == launched.wait()
    wait_until_gone(processes)


def test_children_end_with_a_rank_that_ends_well(tmp_path):
    done = launch("G2N1p2", "--", "sh", "-c", f"{WRITES_PIDS} exit 0", tmp_path / "pid")

    assert 0 == done.returncode
    wait_until_gone(wait_for(tmp_path / "pid", 2))


def test_no_rank_outlives_a_launcher_that_is_killed(tmp_path):
    script = f"trap '' TERM; {WRITES_PIDS} {FOREVER}"
    launched = start(
        *("G4N2p4", "--grace", "100ms", "--", "sh", "-c", script, tmp_path / "pid")
    )
    processes = wait_for(tmp_path / "pid", 4)

    launched.kill()

    assert -signal.SIGKILL == launched.wait()
    assert 8 == len(processes)
    wait_until_gone(processes)


def test_no_rank_outlives_a_whole_process_group_that_is_killed(tmp_path):
    launched = start(
        *("G2N2p2", "--grace", "100ms", "--", "sh", "-c", f"{WRITES_PIDS} wait"),
        tmp_path / "pid",
        start_new_session=True,
    )
    processes = wait_for(tmp_path / "pid", 2)

    os.killpg(launched.pid, signal.SIGKILL)

    launched.wait()
    wait_until_gone(processes)


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_to_the_launcher_ends_all_ranks(tmp_path, number, status):
    script = f"trap 'echo bye; exit 0' TERM; {READY} {FOREVER}"
    launched = start("G2N2p2", "--", "sh", "-c", script, tmp_path / "pid")
    wait_for(tmp_path / "pid", 2)

    launched.send_signal(number)
    said, _ = launched.communicate(timeout=LIMIT_S)

    assert status == launched.returncode
    assert 2 == said.count("bye\n")
    assert f"jax-sif launch: received {number.name}\n" in said
    assert "jax-sif launch: ending 2 ranks, with SIGKILL after 5 s\n" in said


def test_a_second_ctrl_c_kills_what_ignores_the_first(tmp_path):
    script = f"trap '' TERM; {READY} {FOREVER}"
    launched = start(
        *("G2N2p2", "--grace", "1h", "--", "sh", "-c", script, tmp_path / "pid")
    )
    processes = wait_for(tmp_path / "pid", 2)

    # One Ctrl-C may come twice, so what follows at once does not count.
    while launched.poll() is None:
        launched.send_signal(signal.SIGINT)
        time.sleep(0.1)

    assert 130 == launched.returncode
    wait_until_gone(processes)


def test_ctrl_c_ends_at_once_what_already_waits_for_the_grace(tmp_path):
    script = f"{FAILS} trap '' TERM; {READY} {FOREVER}"
    launched = start(
        *("G2N2p2", "--grace", "1h", "--", "sh", "-c", script, tmp_path / "pid")
    )
    while "ending 1 rank" not in launched.stdout.readline():
        assert launched.poll() is None

    launched.send_signal(signal.SIGINT)

    assert 3 == launched.wait()


def test_the_time_limit_ends_a_launch_that_would_not_end():
    done = launch("G2N2p2", "--time-limit", "300ms", "--", "sh", "-c", FOREVER)

    assert 124 == done.returncode
    assert "time limit of 0.3 s reached\n" in done.stderr


def test_a_process_that_left_its_rank_and_holds_the_output_is_not_waited_for(tmp_path):
    # It has a session of its own, where the launcher does not look for it.
    leaver = "import os, time; os.setsid(); open(0, 'w').close(); time.sleep(600)"
    script = f'{sys.executable} -c "{leaver}" & echo $! > $0.0; echo last'

    done = launch("G1N1p1", "--", "sh", "-c", script, tmp_path / "pid")

    assert (0, "last\n") == (done.returncode, done.stdout)
    for process in wait_for(tmp_path / "pid", 1):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def test_when_the_output_is_closed_the_ranks_are_ended():
    words = command("G2N2p2", "--", "sh", "-c", "while echo y; do :; done")
    launched = subprocess.Popen(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    launched.stdout.readline()
    launched.stdout.close()
    errors = launched.stderr.read().decode()

    assert 141 == launched.wait()
    assert "cannot write to standard output (Broken pipe)\n" in errors


def test_a_full_disk_is_no_success():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("G2N2p2", "--", "echo", "text"),
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert 1 == done.returncode
    assert "No space left on device" in done.stderr


def test_what_was_ignored_from_the_start_stays_ignored(tmp_path):
    script = f"{READY} {FOREVER}"
    words = command("G1N1p1", "--", "sh", "-c", script)
    launched = subprocess.Popen(
        ["nohup", *words, str(tmp_path / "pid")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(tmp_path / "pid", 1)

    launched.send_signal(signal.SIGHUP)
    launched.send_signal(signal.SIGTERM)

    # Of two signals the first would decide.
    assert 143 == launched.wait()


def test_a_machine_that_can_start_no_more_says_which_rank_and_leaves_none(tmp_path):
    script = f"{WRITES_PIDS} wait"
    words = command("G40N1p40", "--", "sh", "-c", script, tmp_path / "pid")
    limited = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30));"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, *words],
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert 1 == done.returncode
    assert "Too many open files; use a smaller topology" in done.stderr
    assert "Traceback" not in done.stderr
    started = [
        int(word)
        for file in tmp_path.glob("pid.*")
        for word in file.read_text().split()
    ]
    wait_until_gone(started)
