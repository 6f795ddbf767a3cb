"""A rank that hangs is reported from outside, whatever holds it; real processes, with a stand-in for JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import SRC

from jaxsif.hang import in_rank, page

PROGRAM = """
import os, sys
from jaxsif.hang import in_rank
in_rank.start()
import jax, time
{line}
"""
AT = f"{PROGRAM.split('{', 1)[0].count(chr(10)) + 1} in <module>"


@contextlib.contextmanager
def running(
    folder: Path, line: str, limit_s: float = 4
) -> Iterator[subprocess.Popen[str]]:
    (folder / "jax.py").touch()
    (folder / "program.py").write_text(PROGRAM.format(line=line))
    process = subprocess.Popen(
        [sys.executable, folder / "program.py"],
        env={
            "PYTHONPATH": f"{SRC}:{folder}",
            "PATH": os.environ["PATH"],
            "JAX_SIF_HANG_S": str(limit_s),
            "JAX_SIF_TOPOLOGY": "G1N1p1",
            "JAX_PLATFORMS": "cpu",
        },
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Signals for all of it go to a group of its own.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def next_record(process: subprocess.Popen[str]) -> dict:
    assert process.stdout is not None
    line = next(line for line in process.stdout if line.startswith("@jaxsif"))
    return json.loads(line.split(" ", 3)[3])


STILL = {
    "time.sleep(10**6)": "blocked",
    "import threading; x = threading.Lock(); x.acquire(); x.acquire()": "blocked",
    "os.mkfifo('fifo'); open('fifo')": "blocked",
    "while True: pass": "spinning",
    "while not os.path.exists('x'): time.sleep(0.5)": "idle",
    "import re; re.match(r'(a+)+$', 'a' * 64 + 'b')": "holds-gil",
    # Not even its sleep ends before its time.
    "import ctypes; ctypes.PyDLL(None).sleep(10**6)": "holds-gil",
}


@pytest.fixture(scope="module")
def still_ranks(tmp_path_factory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All at once, for what they do is nothing."""
    with contextlib.ExitStack() as stack:
        yield {
            line: stack.enter_context(running(tmp_path_factory.mktemp("rank"), line))
            for line in STILL
        }


@pytest.mark.parametrize("line", STILL)
def test_a_rank_that_stands_still_is_reported_with_its_line(still_ranks, line):
    # At first a call that keeps the lock looks as one that waits.
    for _ in range(8):
        record = next_record(still_ranks[line])
        if record.get("state") == STILL[line]:
            break

    assert ("stalled", STILL[line]) == (record["phase"], record["state"])
    assert any(f"program.py:{AT}" in frame for frame in record["stack"])
    # What looks at it has not woken it.
    assert still_ranks[line].poll() is None


def test_a_stopped_rank_is_reported(tmp_path):
    with running(tmp_path, "print('here', flush=True)\nwhile True: pass") as process:
        assert process.stdout is not None
        assert "here\n" == process.stdout.readline()
        process.send_signal(signal.SIGSTOP)

        assert "stopped" == next_record(process)["state"]


def test_a_thread_that_calls_jax_is_followed():
    """The main thread may only wait for it, as in a program that trains in a thread."""
    code = "def run(wait, at):\n    at.set(); wait(0)\n    at.set(); wait(1)\n"
    places = []
    for folder in "jax", "queue":
        run: dict[str, Any] = {}
        exec(compile(code, f"/site-packages/{folder}/core.py", "exec"), run)
        go_on, at = [threading.Event(), threading.Event()], threading.Event()
        thread = threading.Thread(
            target=run["run"], args=[lambda n, e=go_on: e[n].wait(), at], daemon=True
        )
        thread.start()
        shared = page.Page(page.create())
        sampler = in_rank.Sampler(shared)
        seen = []
        for event in go_on:
            at.wait()
            sampler.sample()
            position = shared.read()
            assert position is not None
            seen.append(position.others)
            at.clear()
            event.set()
        thread.join()
        places.append(len(set(seen)))

    assert [2, 1] == places


def test_stacks_come_on_request_and_nothing_ends(tmp_path):
    line = "print(os.getpgid(0), flush=True)\nfor i in range(10**12): str(i)"
    with running(tmp_path, line) as process:
        assert process.stdout is not None
        group = int(process.stdout.readline())
        record: dict = {}
        # The observer listens once it has looked at the rank.
        while not record:
            os.killpg(group, signal.SIGURG)
            if select.select([process.stdout], [], [], 1)[0]:
                record = next_record(process)

    assert (True, "moving") == (record["is_requested"], record["state"])


def test_a_rank_that_goes_on_reports_that(tmp_path):
    with running(
        tmp_path, "sys.stdin.read(1)\nfor i in range(10**9): str(i)"
    ) as process:
        assert "stalled" == next_record(process)["phase"]
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()

        assert "moving" == next_record(process)["phase"]


def test_the_program_is_not_disturbed(tmp_path):
    """No child that it did not start, no open output after its end, its own status."""
    line = (
        "\ntry: os.wait()\nexcept ChildProcessError: print('no child')\n"
        "print(*map(type, sys.meta_path), flush=True); os._exit(7)"
    )
    with running(tmp_path, line) as process:
        output, _ = process.communicate(timeout=60)

    assert 7 == process.returncode
    assert output.startswith("no child\n")
    assert "_OnImport" not in output
