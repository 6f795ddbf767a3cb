"""Reporting never changes a program's end: odd exceptions, broken outputs, facts that cannot be found; a stand-in takes JAX's place."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import SRC
from leaving import LEAVES


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("raise ValueError('\\u00fc' * 700)", "ValueError: "),
        (
            "class Odd(Exception):\n    def __str__(self): raise KeyError(1)\nraise Odd",
            "Odd: ",
        ),
        ("def f(): f()\nf()", "RecursionError: "),
        ("raise MemoryError", "MemoryError"),
        ("raise ExceptionGroup('both', [ValueError(1), KeyError(2)])", "KeyError: 2"),
        ("import sys; sys.stdout = sys.stderr = None; 1 // 0", ""),
        ("import sys; sys.stdout.close(); 1 // 0", "ZeroDivisionError"),
        (
            "import sys; sys.stdout = type('B', (), {'flush': lambda s: 1 / 0})()\n1 // 0",
            "ZeroDivisionError: integer",
        ),
        ("import time; time.time = None; 1 // 0", "ZeroDivisionError: integer"),
        (
            "from jaxsif.rank import session\nsession._session.reporter.failed = None\n1//0",
            "ZeroDivisionError: integer",
        ),
    ],
)
def test_an_exception_is_printed_and_ends_the_process_whatever_it_is(
    run, program, printed
):
    done = run(program)

    assert 1 == done.returncode, done.stderr
    assert printed in done.stderr


def test_an_interrupt_ends_the_process_with_its_own_status(run):
    done = run("raise KeyboardInterrupt")

    assert 130 == done.returncode
    assert "KeyboardInterrupt" in done.stderr
    assert '"phase":"failed"' in done.stdout


@pytest.mark.parametrize(
    ("status", "expected"), [("256", 0), ("-1", 255), ("2**80", 255), ("True", 1)]
)
def test_a_status_is_as_python_alone_gives_it(run, status, expected):
    assert expected == run(f"{LEAVES}import sys; sys.exit({status})").returncode


def test_a_thread_that_exits_is_not_the_program(run):
    done = run(
        f"{LEAVES}import _thread, sys, time\n"
        "_thread.start_new_thread(sys.exit, (3,)); time.sleep(0.2)"
    )

    assert 0 == done.returncode
    assert '"phase":"failed"' not in done.stdout


def test_a_program_with_many_devices_ends_well(run, tmp_path):
    (tmp_path / "jax/_src/xla_bridge.py").write_text(
        "backends_are_initialized = lambda: True\n"
    )
    devices = (
        "import types\n"
        "jax.default_backend = lambda: 'cpu'\n"
        "jax.local_device_count = jax.device_count = lambda: 128\n"
        "jax.local_devices = lambda: [types.SimpleNamespace("
        "id=i, device_kind='cpu', local_hardware_id=i) for i in range(128)]\n"
    )

    done = run(f"{LEAVES}import jax\n{devices}")

    assert 0 == done.returncode, done.stderr
    assert '"local_count":128' in done.stdout
    assert '"phase":"done"' in done.stdout


def test_devices_that_cannot_be_described_do_not_spoil_a_good_end(run, tmp_path):
    (tmp_path / "jax/_src/xla_bridge.py").write_text(
        "backends_are_initialized = lambda: True\n"
    )

    done = run(LEAVES)

    assert 0 == done.returncode, done.stderr
    assert '"phase":"done"' in done.stdout
    assert "Traceback" not in done.stderr


# 600 names that do not compress, as a job on a large machine has them.
MANY = "nid[" + ",".join(f"{n:06d}" for n in range(0, 9000, 15)) + "]"


def test_fault_hook_is_called_at_each_point():
    program = (
        "from jaxsif.core.records import AllReduceRecord\n"
        "from jaxsif.rank import phase_reporter, reporter\n"
        "points = []\n"
        "reporter.fault_hook = lambda reporter, point: points.append(point)\n"
        "with phase_reporter() as reporter:\n"
        "    reporter.enters('allreduce')\n"
        "    reporter.emit(AllReduceRecord(**reporter.stamp(), sum=1.0,"
        " wrong_elements=0, expected=1))\n"
        "print(points)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SRC), "HOME": "/"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    points = ["after started", "before allreduce", "after allreduce", "after done"]
    assert str(points) == done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "nodes", [MANY, "node[1-2", "n\u00f6de[1-2]", "a[1-2][3-4]]", ",,", "node[x-y]"]
)
def test_a_step_with_any_list_of_nodes_starts(nodes):
    variables = {
        "SLURM_CLUSTER_NAME": "c",
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": "600",
        "SLURM_STEP_NUM_TASKS": "600",
        "SLURM_STEP_NUM_NODES": "600",
        "SLURM_STEP_TASKS_PER_NODE": "1(x600)",
        "SLURM_STEP_NODELIST": nodes,
        "SLURMD_NODENAME": "nid000015",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from jaxsif.rank import phase_reporter\nwith phase_reporter(): print('the program runs')",
        ],
        env={"PYTHONPATH": str(SRC), "HOME": "/", **variables},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert 0 == done.returncode, done.stderr
    assert "the program runs" in done.stdout
    assert '"phase":"started"' in done.stdout


def test_a_program_read_from_a_pipe_keeps_its_input():
    program = "import sys\nfrom jaxsif.rank import phase_reporter\nwith phase_reporter(): print(sys.stdin.read())"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} /dev/fd/9 9<<'E'\n{program}\nE"],
        env={"PYTHONPATH": str(SRC), "HOME": "/"},
        input="what the program reads",
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert 0 == done.returncode, done.stderr
    assert "what the program reads" in done.stdout


def test_without_preflight_nothing_is_checked(run):
    small = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))"

    def limited(**variables: str) -> str:
        return run(LEAVES, sitecustomize=small, **variables).stderr

    assert "may open 80 files" in limited()
    assert "may open 80 files" not in limited(JAX_SIF_PREFLIGHT="off")


@pytest.mark.parametrize(("wrong", "status"), [("False", 0), ("True", 1)])
def test_a_reporting_program_that_exits_well_ends_as_its_numbers_are(wrong, status):
    program = (
        "import sys\nfrom jaxsif.rank import phase_reporter, session\n"
        "session._verify_all_finished = lambda: None\n"
        f"with phase_reporter() as reporter: reporter.has_wrong_results = {wrong}; sys.exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SRC), "HOME": "/"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (status, 1) == (done.returncode, done.stdout.count('"phase":"done"'))
    assert '"phase":"failed"' not in done.stdout
