"""When a process began and when it passed through the image's entry; real processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import SRC

from jaxsif.rank import reporter

PROGRAM = (
    "import os; from jaxsif.rank import reporter; began = reporter.start_of_process_s();"
    " print(began, reporter.start_of_entry_s(os.environ, began))"
)
# As the entry does it, 0.3 s after the process began.
ENTRY = 'sleep 0.3; read -r JAX_SIF_ENTRY_START _ < /proc/uptime; export JAX_SIF_ENTRY_START; exec "$@"'


def start_times(*command: str, **environment: str) -> tuple[float, str]:
    done = subprocess.run(
        [*command, sys.executable, "-c", PROGRAM],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SRC), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    began, entered = done.stdout.split()
    return float(began), entered


def test_a_process_knows_when_it_was_made():
    before_s = time.time()
    began, entered = start_times()

    assert before_s - 0.05 <= began <= time.time()
    assert "None" == entered


def test_the_entry_comes_after_the_process_that_it_runs_in():
    began, entered = start_times("/bin/sh", "-c", ENTRY, "entry")

    assert began + 0.25 <= float(entered) <= time.time()


def test_the_time_of_another_entry_does_not_count():
    assert "None" == start_times(JAX_SIF_ENTRY_START="1.00")[1]


@pytest.mark.parametrize("text", ["", "soon", "1,5"])
def test_a_time_that_is_no_number_is_not_known(text):
    assert reporter.start_of_entry_s({reporter.ENTERED_VARIABLE: text}, None) is None


@pytest.mark.parametrize("text", ["", "1 (sh) S 1", "1 (a) b) S x"])
def test_a_process_file_that_cannot_be_read_is_not_known(tmp_path, text):
    (tmp_path / "stat").write_text(text)

    assert reporter.start_of_process_s(tmp_path / "stat") is None
    assert reporter.start_of_process_s(tmp_path / "none") is None


def test_a_name_with_blanks_and_parentheses_is_no_hindrance(tmp_path):
    own = Path("/proc/self/stat").read_text()
    name = own[own.index("(") : own.rindex(")") + 1]
    (tmp_path / "stat").write_text(own.replace(name, "(a) b) c (d)"))

    assert reporter.start_of_process_s(tmp_path / "stat") == pytest.approx(
        reporter.start_of_process_s(), abs=0.02
    )
