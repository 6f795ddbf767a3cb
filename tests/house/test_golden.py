"""The golden files: another, a missing and an unused text fail."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkout import TESTS
from golden import FOLDER, Goldens


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


def test_rewriting_writes(folder):
    Goldens(folder, is_rewriting=True).check("room", "farewell", "bye")

    assert (folder / "room/farewell.txt").read_text() == "bye\n"


def used_names(source: str) -> list[re.Pattern[str]]:
    """The names of golden files in a test; a value in an f-string stands for any."""
    calls = re.findall(r"""\bgolden\(\s*(f?)(["'])(.+?)\2""", source)
    return [
        re.compile(
            ".+".join(map(re.escape, re.split(r"\{.*?\}", name) if is_f else [name]))
        )
        for is_f, _, name in calls
    ]


def is_used(path: Path) -> bool:
    """Whether a test of its room names a golden file, perhaps in a list of cases."""
    tests = TESTS.rglob("test_*.py")
    texts = [t.read_text() for t in tests if path.parent.name in t.parts]
    names = [name for text in texts for name in used_names(text)]
    is_named = any(f'"{path.stem}"' in text for text in texts)
    return is_named or any(name.fullmatch(path.stem) for name in names)


def test_every_golden_file_is_used():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]

    assert len(files) > 10
    assert [] == [path for path in files if not is_used(path)]


def test_unused_file_is_found():
    source = 'golden("one", a)\ngolden(f"two-{x.name}", b)\nother("three")'
    names = ["one", "two-four", "two-", "three"]

    used = [n for n in names if any(p.fullmatch(n) for p in used_names(source))]
    assert ["one", "two-four"] == used
