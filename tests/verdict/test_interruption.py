"""Signals while `jax-sif verify` reads: the verdict of what is known, soon, and a better one when the output ends."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import SRC
from sample_records import healthy, output, records

from jaxsif.core.record_lines import encode


class Reader:
    """`jax-sif verify` with a pipe that stays open until it is closed."""

    def __init__(self, file: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jaxsif", "verify", "--topology", "G8N2p8"),
                *("--verdict-file", str(file)),
                *words,
            ],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.lines: list[str] = []

    def feed(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{text}fed\n".encode())
        self.process.stdin.flush()
        self.read_until("fed")

    def read_until(self, start: str) -> str:
        """The first line with such a beginning; the output must not end before."""
        assert self.process.stdout
        for line in iter(self.process.stdout.readline, b""):
            self.lines.append(line.decode().rstrip("\n"))
            if self.lines[-1].startswith(start):
                return self.lines[-1]
        raise AssertionError(self.lines)

    def close(self) -> list[str]:
        """Ends the input; returns what was printed since."""
        rest, _ = self.process.communicate(timeout=30)
        return rest.decode().splitlines()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "verdict.json"


@pytest.fixture
def reader(file: Path) -> Iterator[Reader]:
    reader = Reader(file)
    yield reader
    reader.process.kill()
    reader.process.communicate()


def half() -> str:
    """The output of a job whose rank 5 hangs after it has connected."""
    job = healthy()
    for phase in ("devices", "allreduce", "identity", "done"):
        del job[5][phase]
    return output(job)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_gives_the_verdict_of_what_is_known_while_the_job_goes_on(
    reader, file, number
):
    reader.feed(half())

    reader.process.send_signal(number)
    line = reader.read_until("COULD NOT TELL")

    assert number.name in line
    assert any(x.startswith("5     node2") for x in reader.lines)
    # A program that saves its state can still write.
    reader.feed("state saved\n")
    assert "COULD NOT TELL" == verdict_in(file)


def test_a_job_that_comes_to_its_end_in_peace_has_its_own_verdict_last(reader, file):
    reader.feed(half())
    reader.process.send_signal(signal.SIGTERM)
    reader.read_until("COULD NOT TELL")

    missing = ("devices", "allreduce", "identity", "done")
    reader.feed("".join(encode(healthy()[5][phase]) for phase in missing))
    rest = reader.close()

    assert rest[-1].startswith("PASS  G8N2p8")
    assert (0, "PASS") == (reader.process.returncode, verdict_in(file))


def test_an_output_that_ends_at_once_has_one_verdict(reader):
    reader.feed(half())
    reader.process.send_signal(signal.SIGTERM)
    rest = reader.close()

    assert 3 == reader.process.returncode
    assert 1 == sum(x.startswith("COULD NOT TELL") for x in rest)


def test_exits_after_the_signal_are_no_failure(reader):
    reader.feed(half())
    reader.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    reader.feed("srun: error: node2: task 5: Killed\n")
    reader.read_until("COULD NOT TELL")
    # Longer than a launcher may be silent after a rank has failed.
    reader.feed(
        "slurmstepd: error: *** STEP 7.0 ON node1 CANCELLED AT 2026-01-02T03:04:05"
        " DUE TO TIME LIMIT ***\n"
    )

    assert "time limit; no rank is the cause" in reader.close()[-1]
    assert 3 == reader.process.returncode


def test_a_fault_that_came_before_the_signal_stays_the_first_cause(reader):
    reader.feed(half() + "srun: error: node2: task 5: Segmentation fault\n")
    reader.process.send_signal(signal.SIGTERM)

    assert "rank 5 on node2: Segmentation fault" in reader.read_until("FAIL")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_second_one_ends_at_once(reader, number):
    reader.feed(half())
    reader.process.send_signal(number)
    reader.read_until("COULD NOT TELL")
    reader.process.send_signal(number)

    assert -number == reader.process.wait(30)


def test_nothing_known_is_a_verdict_too(file):
    reader = Reader(file, "--user-program")
    reader.feed("loss 0.3\n")
    reader.process.send_signal(signal.SIGTERM)

    assert "SIGTERM" in reader.read_until("COULD NOT TELL")
    reader.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_file_that_is_judged_ends_as_any_reader_does(tmp_path, number):
    log = tmp_path / "job.out"
    log.write_text("".join(map(encode, records(healthy()))) * 3000)
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxsif", "verify", "--topology", "G8N2p8", str(log)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr
    # The first line of progress says that it reads.
    process.stderr.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)

    assert -number == process.returncode
    assert b"Traceback" not in said


def verdict_in(file: Path) -> str:
    return json.loads(file.read_text())["verdicts"][0]["verdict"]
