"""#SBATCH lines are parsed as sbatch parses them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.lint.script import parse_directives, split_directive


# As sbatch 26.05 splits them (sbatch -vvvv --test-only).
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" --nodes=2 # a comment", ["--nodes=2"]),
        (' --job-name="a b"', ["--job-name=a b"]),
        ("   -n4  -c 2", ["-n4", "-c", "2"]),
        ("--comment=glued", ["--comment=glued"]),
        (" --output=a#b", ["--output=a"]),
        (r" --constraint='x y'\ z", ["--constraint=x y z"]),
        ("\t--mail-user=tab", ["--mail-user=tab"]),
        (" --comment=''", ["--comment="]),
        (' --comment="a # b"', ["--comment=a # b"]),
    ],
)
def test_directive_is_split_as_by_slurm(text, words):
    assert words == [word.text for word in split_directive(text, 1)]


def test_directives_end_at_the_first_command():
    lines = [
        "#!/bin/sh",
        " #SBATCH -N 1",
        "",
        "#SBATCH -N 2",
        "  ",
        "date",
        "#SBATCH -N3",
    ]

    directives = parse_directives(lines)

    options = directives.options.options
    assert [("nodes", "2")] == [(o.name, o.value.text) for o in options]
    assert 6 == directives.first_command
    assert (7,) == directives.after_first_command
