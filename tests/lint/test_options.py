"""Options of sbatch and srun are parsed as getopt_long parses them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.lint.model import Word
from jaxsif.lint.options import SBATCH, SRUN, ParsedOptions, parse_options


def parse(line: str, table=SBATCH) -> ParsedOptions:
    return parse_options([Word(text, 1) for text in line.split()], table)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-N2 -n 8", {"nodes": "2", "ntasks": "8"}),
        ("--tasks-per-node 4", {"ntasks-per-node": "4"}),
        ("--exclusive --nodes=3", {"exclusive": None, "nodes": "3"}),
        ("--exclusive=user", {"exclusive": "user"}),
        ("--part gpu --acco x", {"partition": "gpu", "account": "x"}),
        ("-HvJ name", {"hold": None, "verbose": None, "job-name": "name"}),
    ],
)
def test_options_are_parsed_in_every_form(line, expected):
    options = parse(line).options

    assert expected == {o.name: o.value.text if o.value else None for o in options}


@pytest.mark.parametrize(
    ("line", "error"),
    [("--nodse=2", "unknown"), ("--ntasks-per=2", "ambiguous"), ("-N", "no value")],
)
def test_options_that_sbatch_refuses_have_an_error(line, error):
    (option,) = parse(line).options

    assert error == option.error


def test_options_of_srun_end_at_the_program():
    parsed = parse("-n 4 -K1 --kill-on-bad-exit python train.py -n 9", SRUN)

    assert "4" == parsed.text("ntasks")
    assert ["python", "train.py", "-n", "9"] == [word.text for word in parsed.remaining]
