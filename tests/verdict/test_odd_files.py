"""Files that hold what no person writes by hand: sites, descriptions of packages, tables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
import random

import pytest

from jaxsif.commands import baseline
from jaxsif.commands.check import task_counts
from jaxsif.core.errors import UsageError
from jaxsif.core.verdict_file import SCHEMA
from jaxsif.job import configs
from jaxsif.job.schema import Site
from jaxsif.overlay import manifest
from jaxsif.report.csv_export import _cell

IMAGE = "# 0123456789abcdef jax-sif\njax==0.12.0\n"
PACKAGE = {"name": "flax", "version": "0.10", "sha256": None, "is_requested": True}
DESCRIPTION = {"schema": 1, "digest": "0a1b", "packages": [PACKAGE]}


@pytest.mark.parametrize(
    "text",
    [
        "nonsense:\t1\n",
        "network:\t[a]\nnonsense: 1\n",
        "[" * 50_000,
        "- " * 30_000,
        "a: &a [*a]\n",
        "a: &a b\nnonsense: *a\n",
        "x: 1\n" * 10_000,
        "? [a]\n: b\n",
        "a: 1\n" * 20_000,
        "",
        "\0",
    ],
)
def test_an_odd_site_is_refused_with_its_file(tmp_path, text):
    file = tmp_path / "odd.yaml"
    file.write_text(text)

    with pytest.raises(UsageError, match=r"odd\.yaml"):
        configs.read(Site, file)


def test_a_tab_before_a_value_does_not_hide_the_field_and_its_line(tmp_path):
    file = tmp_path / "odd.yaml"
    file.write_text("description: x\nnonsense:\t1\n")

    with pytest.raises(UsageError, match=r"odd\.yaml:2: unknown field 'nonsense'"):
        configs.read(Site, file)


ODD = (None, 5, [], {}, "", "\x1b[31m", "a\nb", ["x"], True, 1e400, "x" * 9999)


def test_a_description_of_odd_types_is_refused_by_one_error():
    rng = random.Random(7)
    for _ in range(2000):
        facts = json.loads(json.dumps(DESCRIPTION))
        where = rng.choice([facts, facts["packages"][0]])
        where[rng.choice([*where, "other"])] = rng.choice(ODD)
        text = json.dumps(facts)
        if rng.random() < 0.2:
            text = text[: rng.randrange(len(text))]
        try:
            found = manifest.decode(text, IMAGE)
        except ValueError:
            continue
        assert all(
            p.name.isprintable() and p.version.isprintable() for p in found.packages
        )


@pytest.mark.parametrize("line", ["jax", "a\x1b[31m==1", "==", "=", "a==\x1b"])
def test_an_odd_line_of_the_image_is_refused(line):
    with pytest.raises(ValueError, match=r"package|line"):
        manifest.decode(json.dumps(DESCRIPTION), f"# 0123456789abcdef a\n{line}\n")


@pytest.mark.parametrize(
    "verdict",
    [5, {"verdict": "PASS", "ranks": 3}, {"verdict": "PASS", "ranks": [{}]}]
    + [{"verdict": "PASS", "ranks": [{"rank": 0, "measured": [m]}]} for m in (1, {})],
)
def test_a_verdict_of_odd_types_teaches_nothing(tmp_path, verdict):
    file = tmp_path / "odd.json"
    file.write_text(json.dumps({"schema": SCHEMA, "verdicts": [verdict]}))

    with pytest.raises(UsageError, match=r"odd\.json"):
        baseline.add([str(file)], tmp_path / "known.toml")


def test_counts_of_more_tasks_than_any_job_has_are_no_counts():
    assert task_counts("4(x2),1") == [4, 4, 1]
    assert task_counts(f"4(x{'9' * 5000})") == []
    assert len(task_counts(",".join(["1(x999999)"] * 50))) == 0


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\t=x", "\r=x", " =x"])
def test_no_cell_of_a_table_is_a_formula(text):
    out = io.StringIO()
    csv.writer(out).writerow([_cell(text)])

    (row,) = csv.reader(io.StringIO(out.getvalue()))
    assert row == [f"'{text}"]


@pytest.mark.parametrize("value", [-1.5, -3, 0, None, "node-1", "all-reduce"])
def test_numbers_and_names_stay_as_they_are(value):
    assert _cell(value) == value
