"""Standard streams that are closed, full, non-blocking or unread, and Ctrl-C: no traceback, and the command's own status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pytest
from checkout import SRC
from sample_records import healthy, output

PASSES = "verify --topology G8N2p8"
LOG = "srun: error: node1: task 0: Out Of Memory\n"


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC)}


def shell(command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """A shell's line in which `kit` is the command."""
    return subprocess.run(
        ["bash", "-c", f'kit() {{ "$PYTHON" -m jaxsif "$@"; }}; {command}'],
        input=text,
        env={**environment(), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
    )


def start(*words: str, **more) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "jaxsif", *words],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=more.get("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full", "2>&-", "2> /dev/full"])
def test_a_pass_is_a_pass_wherever_the_output_goes(redirection, tmp_path):
    file = tmp_path / "v.json"

    done = shell(f"kit {PASSES} --verdict-file {file} {redirection}", output(healthy()))

    assert (0, True) == (done.returncode, file.is_file()), done.stderr
    assert "Traceback" not in done.stderr
    assert 1 >= done.stderr.count("cannot write to standard output")


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
def test_a_failure_is_a_failure_wherever_the_output_goes(redirection):
    job = healthy()
    del job[5]

    assert 1 == shell(f"kit {PASSES} {redirection}", output(job)).returncode


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (PASSES, 3),
        ("explain -", 2),
        ("lint -", 2),
        ("info", None),
        ("launch --devices cpu G1N1p1 -- true", 0),
    ],
)
def test_closed_streams_are_empty_ones(command, status):
    done = shell(f"kit {command} <&- >&-")

    assert status in (None, done.returncode), done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.parametrize(
    "command", ["job G1N1p1 x.py", "profile list", "lint --list-rules"]
)
def test_a_text_that_could_not_be_written_is_said_in_one_line(command):
    done = shell(f"kit {command} > /dev/full")

    assert 1 == done.returncode
    assert ["jax-sif: cannot write to standard output: No space left on device"] == (
        done.stderr.splitlines()[-1:]
    )
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_gone_is_no_error_and_the_verdict_stands(tmp_path):
    file = tmp_path / "v.json"

    done = shell(
        f"kit {PASSES} --verdict-file {file} 2> {tmp_path}/err | head -n 1;"
        " echo ${PIPESTATUS[0]}",
        output(healthy()) * 1,
    )

    assert "0" == done.stdout.splitlines()[-1]
    assert file.is_file()
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_a_full_pipe_that_does_not_block_loses_nothing():
    read, write = os.pipe()
    os.set_blocking(write, False)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    process = start(*PASSES.split(), stdout=write)
    os.close(write)
    assert process.stdin
    count = "for i in range(20_000): print('line', i)"
    feeder = subprocess.Popen([sys.executable, "-c", count], stdout=process.stdin)
    process.stdin.close()
    wait_until(lambda: in_pipe(read) >= 4000)
    with open(read, "rb") as pipe:
        taken = pipe.read()
    feeder.wait(30)
    assert 3 == process.wait(30)
    assert b"\nline 19999\n" in taken
    assert b"Traceback" not in (process.stderr.read() if process.stderr else b"")


@pytest.mark.parametrize("command", ["lint -", "explain -"])
@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, b""), (signal.SIGTERM, b"")]
)
def test_what_only_reads_ends_at_a_signal_without_a_traceback(command, number, word):
    process = start(*command.split())
    wait_until_it_reads(process)

    process.send_signal(number)
    _, said = process.communicate(timeout=30)

    assert (-number, word) == (process.returncode, said)


def in_pipe(descriptor: int) -> int:
    """How many bytes are not read yet."""
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]


def wait_until(is_so: Callable[[], bool]) -> None:
    limit_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < limit_s
        time.sleep(0.02)


def wait_until_it_reads(process: subprocess.Popen[bytes]) -> None:
    """Until the command has taken what was written to it: then it waits for more."""
    assert process.stdin
    process.stdin.write(b"#!/bin/sh\n")
    process.stdin.flush()
    descriptor = process.stdin.fileno()
    wait_until(lambda: not in_pipe(descriptor))


def test_an_error_of_the_kits_own_is_one_line_and_proves_nothing():
    program = (
        "from jaxsif import cli\n"
        "import jaxsif.core.image\n"
        "def broken(): raise TypeError('no such\\nfact')\n"
        "jaxsif.core.image.describe = broken\n"
        "import sys; sys.argv = ['jax-sif', 'info']\n"
        "sys.exit(cli.main())\n"
    )
    done, shown = (
        subprocess.run(
            [sys.executable, "-c", program],
            env={**environment(), **more},
            capture_output=True,
            text=True,
            timeout=60,
        )
        for more in ({}, {"JAX_SIF_VERBOSE": "1"})
    )

    assert (3, 3) == (done.returncode, shown.returncode)
    assert 1 == len(done.stderr.splitlines())
    assert "TypeError: no such (<string>:3)" in done.stderr
    assert "Traceback" in shown.stderr
