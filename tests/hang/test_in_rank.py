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
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from checkout import SRC

from jaxsif.hang import in_rank, page

PROGRAM = """
import os, sys
from jaxsif.hang import in_rank
in_rank.start(); {early}
import jax, time
{line}
"""
AT = f"{PROGRAM.split('{line')[0].count(chr(10)) + 1} in <module>"


@contextlib.contextmanager
def running(
    folder: Path, line: str, limit_s: float = 4, early: str = ""
) -> Iterator[subprocess.Popen[str]]:
    (folder / "jax.py").touch()
    (folder / "program.py").write_text(PROGRAM.format(line=line, early=early))
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


def observer_of(process: subprocess.Popen[str]) -> int:
    """Its number, once it runs."""
    while process.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                is_observer = any(b"jaxsif.hang.observer" in word for word in words)
                if is_observer and str(process.pid).encode() in words:
                    return int(folder.name)
    raise AssertionError("the rank ended")


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
    with running(tmp_path, "for i in range(10**12): str(i)") as process:
        assert process.stdout is not None
        observer = observer_of(process)
        record: dict = {}
        # The observer listens once it has looked at the rank.
        while not record:
            os.kill(observer, page.ASK_SIGNAL)
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
    # Python goes through the finders while this one is called.
    assert "_OnImport" in output


def test_signals_for_all_processes_of_a_step_do_not_reach_the_observer(tmp_path):
    early = "import signal; signal.signal(10, signal.SIG_IGN); os.killpg(0, 10)"
    with running(tmp_path, "sys.stdin.read()", early=early) as process:
        observer = observer_of(process)
        status = Path(f"/proc/{observer}/status").read_text()

        assert observer == os.getsid(observer)
        ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
        assert all(ignored >> (number - 1) & 1 for number in in_rank._IGNORED)
        # Profiles ask Slurm for it before the time limit.
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        assert not caught >> (signal.SIGURG - 1) & 1


@pytest.fixture
def pipe() -> Iterator[tuple[int, int, in_rank._Pipe]]:
    end, wake = os.pipe()
    yield end, wake, in_rank._Pipe(wake)
    for descriptor in end, wake:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_a_file_of_the_program_with_the_number_of_the_pipe_is_left_alone(pipe):
    _, wake, mine = pipe
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), wake)
        with pytest.raises(OSError, match="closed the pipe"):
            mine.wake()
        mine.close()

        assert 0 == os.fstat(wake).st_size


def test_the_pipe_is_closed_where_it_still_is(pipe):
    end, _, mine = pipe
    mine.wake()
    mine.close()

    assert b"\0" == os.read(end, 2)
    assert b"" == os.read(end, 1)


@pytest.mark.parametrize("closed", [0, 1])
def test_without_observer_or_pipe_the_import_goes_on(pipe, closed, capsys):
    os.close(pipe[closed])
    finder = in_rank._OnImport(page.Page(page.create()), pipe[2])
    # As a program does that writes to `head`.
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        for _ in range(2):
            finder.find_spec("jax")
    finally:
        signal.signal(signal.SIGPIPE, before)

    assert 1 == capsys.readouterr().err.count("hangs are not watched")
    assert "jax-sif-hang" not in [thread.name for thread in threading.enumerate()]


def test_a_sampler_that_fails_shows_no_position_and_goes_on(monkeypatch):
    shared = page.Page(page.create())
    sampler = in_rank.Sampler(shared)
    sampler.sample()
    assert shared.read() is not None
    failures = iter([MemoryError(), ValueError()])
    seen = []

    def fail() -> None:
        raise next(failures)

    def sleep(_: float) -> None:
        seen.append(shared.read())
        if len(seen) == 2:
            raise SystemExit

    monkeypatch.setattr(sampler, "sample", fail)
    monkeypatch.setattr(in_rank, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(SystemExit):
        sampler._run()

    assert [None, None] == seen


def test_a_thread_that_may_serve_the_program_is_seen():
    event = threading.Event()
    end, wake = os.pipe()

    def read() -> None:
        os.read(end, 1)

    threads = [threading.Thread(target=target) for target in (event.wait, read)]
    for thread in threads:
        thread.start()
    numbers = [thread.ident or 0 for thread in threads]
    frames = sys._current_frames()
    while frames[numbers[1]].f_code is not read.__code__:
        frames = sys._current_frames()
    shared = page.Page(page.create())
    in_rank.Sampler(shared).sample()
    position = shared.read()
    event.set()
    os.write(wake, b"x")
    for thread in threads:
        thread.join()

    assert position is not None
    assert not position.is_alone
    seen = [in_rank._waits_for_threads(frames[number]) for number in numbers]
    assert [True, False] == seen
