"""A rank whose program does not use the kit: the exception that ends it is recorded, and no other."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from checkout import SRC

from jaxsif.core.record_lines import MARKER, MARKER_BYTES, decode

# What site does with a line of a .pth file.
SITE = f"exec(open({str(SRC / 'jaxsif/start/unhandled.pth')!r}).read())\n"
RANK = {
    "JAX_SIF_TOPOLOGY": "G8N2p8",
    "SLURM_CLUSTER_NAME": "box",
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURMD_NODENAME": "node2",
}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "site" / "sitecustomize.py").parent.mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    program = tmp_path / "plain.py"

    def start(text: str, **changes: str) -> subprocess.CompletedProcess[str]:
        program.write_text(text)
        # As the image's entry does it.
        script = 'export JAX_SIF_RANK_PID="$$"; exec "$@"'
        return subprocess.run(
            ["sh", "-c", script, "sh", sys.executable, str(program)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{tmp_path / 'site'}:{SRC}",
                **RANK,
                **changes,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    return start


def recorded(done: subprocess.CompletedProcess[str]) -> list[dict]:
    lines = [x.encode() for x in done.stdout.splitlines() if MARKER in x]
    return [decode(line, line.index(MARKER_BYTES)) for line in lines]


RAISES = "raise ValueError('no such data')\n"
SOME_CHANGE_THE_HOOK = """
import sys
before = sys.excepthook
def mine(*error):
    print("mine")
    before(*error)
sys.excepthook = mine
"""


@pytest.mark.parametrize(
    "text",
    [
        RAISES,
        SOME_CHANGE_THE_HOOK + RAISES,
        f"import runpy\ndef main():\n    {RAISES}main()\n",
        "class Odd(Exception):\n    def __str__(self): return 1\nraise Odd\n",
    ],
)
def test_the_exception_that_ends_a_rank_is_recorded_and_its_end_stays_its_own(
    run, text
):
    done = run(text)

    (record,) = recorded(done)
    assert ("failed", 5, "node2") == (record.phase, record.rank, record.node)
    assert "Odd" in text or "ValueError: no such data" == record.error
    assert 1 == done.returncode
    assert "Traceback (most recent call last)" in done.stderr
    assert "excepthook" not in done.stderr


CAUGHT = """
import logging, sys, traceback
try:
    {}["shard 17"]
except KeyError:
    logging.exception("left out")
    traceback.print_exc()
    sys.excepthook(*sys.exc_info())
def later():
    try:
        {}["shard 18"]
    except KeyError:
        sys.excepthook(*sys.exc_info())
later()
"""
IN_A_THREAD = "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()\n"
IN_A_FORK = """
import os
if os.fork() == 0:
    raise ValueError
os.wait()
"""
IN_A_CHILD = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', '1 / 0'])\n"


@pytest.mark.parametrize("text", [CAUGHT, IN_A_THREAD, IN_A_FORK, IN_A_CHILD])
def test_what_does_not_end_the_rank_is_not_recorded(run, text):
    done = run(text)

    assert ([], 0) == (recorded(done), done.returncode)
    assert "Error" in done.stderr


@pytest.mark.parametrize("text", ["raise SystemExit(3)\n", "raise KeyboardInterrupt\n"])
def test_an_order_to_end_is_no_exception_of_the_program(run, text):
    assert [] == recorded(run(text))


def test_without_verify_nothing_is_written(run):
    assert [] == recorded(run(RAISES, JAX_SIF_TOPOLOGY=""))


def test_where_the_record_cannot_be_made_the_program_ends_as_it_would(run):
    done = run(RAISES, SLURM_PROCID="x")

    assert ([], 1) == (recorded(done), done.returncode)
    assert "ValueError: no such data" in done.stderr


def test_a_program_that_uses_the_kit_is_recorded_once(run):
    done = run(
        "from jaxsif.rank.session import phase_reporter\nwith phase_reporter():\n    1 / 0\n"
    )

    assert ["failed"] == [r.phase for r in recorded(done) if r.phase == "failed"]


def test_a_healthy_program_loads_nothing_for_it(run):
    done = run("import sys; print([n for n in sys.modules if n.startswith('jaxsif')])")

    assert "[]\n" == done.stdout
