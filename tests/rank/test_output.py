"""Where a rank's records go, whatever the program does to its standard output; each in a process of its own."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from checkout import SRC

WITH_REPORTER = """
import os, signal, sys, threading, time
from jaxsif.core.records import FailedRecord
from jaxsif.core.slurm_env import Identity
from jaxsif.rank.reporter import Reporter
reporter = Reporter(Identity("box.7.0.0", 3, 8, 0, "node1", "node[1-2]"))
"""


def run(program: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITH_REPORTER + program],
        env={"PYTHONPATH": str(SRC), "HOME": "/"},
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        **options,
    )


@pytest.mark.parametrize(
    "change",
    [
        "sys.stdout = None",
        "import io; sys.stdout = io.StringIO()",
        "sys.stdout.close()",
        "sys.stdout = type('Broken', (), {'flush': lambda self: 1 // 0})()",
        "os.close(1)",
        "os.close(1); file = open('/dev/null', 'w'); assert file.fileno() == 1",
        "os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
        "os.closerange(3, 64)",
    ],
)
def test_a_record_goes_to_the_output_that_the_process_began_with(change):
    done = run(f"{change}\nreporter.done()\nos._exit(0)")

    assert 0 == done.returncode, done.stderr
    assert 1 == done.stdout.count('"phase":"done"'), done.stderr


def test_no_record_goes_into_a_file_that_got_the_outputs_number(tmp_path):
    path = tmp_path / "data"

    done = run(
        "os.closerange(3, 64); os.close(1)\n"
        f"file = os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT)\n"
        "os.dup2(file, 3); reporter.done(); os._exit(0)"
    )

    assert (0, "") == (done.returncode, path.read_text()), done.stderr
    assert 1 == done.stderr.count("'done' cannot be written")


@pytest.mark.parametrize("handler", ["SIG_IGN", "SIG_DFL"])
def test_a_reader_that_is_gone_costs_one_line(handler):
    reader, writer = os.pipe()
    os.close(reader)

    done = run(
        f"signal.signal(signal.SIGPIPE, signal.{handler})\n"
        "reporter.started(); reporter.done(); os._exit(0)",
        stdout=writer,
    )
    os.close(writer)

    assert 0 == done.returncode
    assert 1 == done.stderr.count("cannot be written")


def test_a_full_disk_costs_one_line():
    with open("/dev/full", "w") as full:
        done = run("reporter.started(); reporter.done(); os._exit(0)", stdout=full)

    assert (0, 1) == (done.returncode, done.stderr.count("cannot be written"))


def test_without_a_standard_output_a_program_runs_on():
    done = run("os._exit(0)", preexec_fn=lambda: os.close(1))

    assert 0 == done.returncode, done.stderr


FILLED = """
os.set_blocking(1, False)
try:
    while True: os.write(1, b"x" * 4095 + b"\\n")
except BlockingIOError: pass
"""


def test_a_full_output_that_does_not_block_is_waited_for():
    reader, writer = os.pipe()
    rank = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            f"{WITH_REPORTER}{FILLED}os.write(2, b'full')\nreporter.done()\nos._exit(0)",
        ],
        env={"PYTHONPATH": str(SRC)},
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert b"full" == rank.stderr.read(4)
    with open(reader, "rb") as output:
        got = output.read()

    assert (0, b"") == (rank.wait(30), rank.stderr.read())
    assert 1 == got.count(b'"phase":"done"')
    rank.stderr.close()


def test_unread_output_is_lost_after_a_moment():
    reader, writer = os.pipe()

    done = run(f"{FILLED}reporter.done(); os._exit(0)", stdout=writer)
    os.close(reader)
    os.close(writer)

    assert (0, 1) == (done.returncode, done.stderr.count("cannot be written"))


def test_a_record_that_cannot_be_encoded_costs_one_line_at_most():
    done = run(
        "reporter.emit(FailedRecord(**reporter.stamp(), error={(4,): object()}, problems=[])); os._exit(0)"
    )

    assert 0 == done.returncode
    assert 1 == done.stderr.count("cannot be written")


def test_broken_standard_error_changes_nothing():
    with open("/dev/full", "w") as full:
        done = run(
            "sys.stderr = None; reporter.done(); os._exit(0)",
            stdout=full,
        )

    assert (0, "") == (done.returncode, done.stderr)


def test_where_no_descriptor_is_left_records_go_out_all_the_same():
    done = run(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "Reporter(reporter.identity).done(); os._exit(0)"
    )

    assert 1 == done.stdout.count('"phase":"done"'), done.stderr
