"""The comparison with golden files: it fails for other, missing and unused texts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import TESTS
from golden import Goldens

# A conftest as that of this suite, for a suite of one room.
CONFTEST = (TESTS / "conftest.py").read_text()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room/greeting.txt").write_text("hello\n")
    return tmp_path


@pytest.mark.parametrize("text", ["hello", "hello\n"])
def test_same_text_passes(folder, text):
    Goldens(folder).check("room", "greeting", text)


@pytest.mark.parametrize("text", ["hallo", "", "hello\nyou"])
def test_other_text_fails(folder, text):
    with pytest.raises(pytest.fail.Exception, match="this run"):
        Goldens(folder).check("room", "greeting", text)


def test_missing_file_fails(folder):
    with pytest.raises(pytest.fail.Exception, match=r"no .*farewell"):
        Goldens(folder).check("room", "farewell", "hello")


def test_one_name_for_two_texts_fails(folder):
    goldens = Goldens(folder)
    goldens.check("room", "greeting", "hello")

    with pytest.raises(pytest.fail.Exception, match="two tests"):
        goldens.check("room", "greeting", "hello")


def test_rewriting_writes_and_deletes(folder):
    goldens = Goldens(folder, is_rewriting=True)
    goldens.check("room", "farewell", "bye")

    assert goldens.unused(["room"]) == []
    assert [p.name for p in folder.rglob("*.txt")] == ["farewell.txt"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 1),
        # None of these has run every test of the room.
        (("room/test_one.py",), 0),
        (("-k", "greets"), 0),
        (("room/test_one.py::test_greets", "room/test_two.py"), 0),
        (("--collect-only",), 0),
    ],
)
def test_unused_file_fails_a_whole_run(tmp_path, arguments, status):
    room = tmp_path / "room"
    room.mkdir()
    (tmp_path / "conftest.py").write_text(
        "from pathlib import Path\nimport golden, functools\n"
        f"golden.Goldens = functools.partial(golden.Goldens, Path({str(tmp_path)!r}))\n"
        + CONFTEST.partition("from __future__ import annotations\n")[2]
    )
    (room / "test_one.py").write_text("def test_greets(golden): golden('greeting', '')")
    (room / "test_two.py").write_text("def test_nothing(): pass")
    (room / "greeting.txt").write_text("\n")
    (room / "unused.txt").write_text("\n")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(TESTS / "helpers")},
        capture_output=True,
        text=True,
    )

    assert done.returncode == status, done.stdout + done.stderr
    assert ("no test uses" in done.stdout) == bool(status)
