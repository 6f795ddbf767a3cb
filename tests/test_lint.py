"""The lint on a corpus of scripts: each finding where the script says that it is expected, and no other."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jaxsif import cli

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "tests/scripts").glob("*.slurm"))
JOBS = sorted((ROOT / "jobs").glob("*.slurm"))

# Of the file as a whole, or of a place where no comment can stand.
OF_THE_FILE = {
    "blank-first-line": {"shebang"},
    "no-shebang": {"shebang"},
    "python-script": {"unreadable"},
    "tcsh": {"unreadable"},
    "windows": {"line-ends"},
}


def test_the_scripts_that_the_kit_ships_are_clean(capsys):
    assert 0 == cli.main(["lint", "--strict", *map(str, JOBS)])
    assert "nothing found" in capsys.readouterr().out


def test_the_corpus_is_large_enough():
    assert len(SCRIPTS) >= 25


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_expected_rule_is_found_in_a_script_and_no_other(capsys, script):
    text = script.read_bytes().decode("utf-8", "replace")
    expected = {
        name.strip()
        for names in re.findall(r"# expect: ([a-z, -]+)", text)
        for name in names.split(",")
    }

    cli.main(["lint", str(script)])

    shown = set(re.findall(r"\[([a-z-]+)\]$", capsys.readouterr().out, re.M))
    assert expected | OF_THE_FILE.get(script.stem, set()) == shown
