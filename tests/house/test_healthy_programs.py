"""The collection of healthy programs: each says what it does, and what counts as harm is right."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast
import sys

import pytest
from checkout import ROOT

sys.path.insert(0, str(ROOT / "tests/cluster"))
from cluster import Job
from healthy_programs import (
    ALONE,
    FOLDER,
    KIT,
    PLAIN,
    Outcome,
    programs,
)

LAST_LINES = "".join(f"\nrank {rank} ended well\n" for rank in range(4))
PASSED = "PASS  G4N2p4: 4 processes on 2 nodes\n"
UNASKED = "NO VERDICT  nothing is known to be wrong\n   -> let it call\n"


def outcome(output: str, *, status: int = 0, way: str = KIT, **more: bool) -> Outcome:
    return Outcome("any", way, Job(status, output), **more)


def test_there_are_many_and_each_runs_as_plain_jax_too():
    pairs = programs()
    names = {name for name, _ in pairs}

    assert len(names) > 50
    assert names == {name for name, way in pairs if way == PLAIN}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda f: f.stem)
def test_each_says_in_one_sentence_what_it_does(file):
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""

    assert docstring.endswith("; runs as a rank.")
    assert "\n" not in docstring


@pytest.mark.parametrize(
    ("found", "is_harmed", "is_alarmed"),
    [
        (outcome(LAST_LINES + PASSED), False, False),
        (outcome(LAST_LINES + UNASKED, way=PLAIN), False, False),
        (outcome(LAST_LINES, way=ALONE), False, False),
        (outcome(PASSED, is_program=False), False, False),
        # A program of the kit has a verdict.
        (outcome(LAST_LINES + UNASKED), False, True),
        (outcome(LAST_LINES + "FAIL  G4N2p4: x\n"), False, True),
        # What the program itself prints is no verdict.
        (outcome(LAST_LINES + PASSED + "one more line\n"), False, True),
        (outcome(LAST_LINES + PASSED, status=143), True, False),
        (outcome(LAST_LINES[:-20] + "\n" + PASSED), True, False),
    ],
)
def test_what_counts_as_harm_and_as_a_false_alarm(found, is_harmed, is_alarmed):
    assert (is_harmed, is_alarmed) == (bool(found.harm), bool(found.alarm))
