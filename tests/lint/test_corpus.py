"""Whole scripts, whose comments say which findings they must and must not have."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from checkout import ROOT

from jaxsif import cli
from jaxsif.lint import report
from jaxsif.lint.lint import lint_text
from jaxsif.lint.rules import RULES

SCRIPTS = sorted((ROOT / "tests/scripts").glob("*.slurm"))
IDS = {rule.id for rule in RULES}

# `# expect: id, id` names the findings of its line, or of the next one where it stands
# alone; `# near: id` what looks like one there and is none. `line 1` is for a line that
# cannot bear a comment.
MARK = re.compile(r"# (expect|near)(?: line (\d+))?: ([a-z-]+(?:, [a-z-]+)*)")

each_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def read(path: Path) -> str:
    # Not as text: line ends are what one of them is about.
    return path.read_bytes().decode()


def marks(text: str, kind: str) -> set[tuple[int, str]]:
    """Lines and ids of the marks of a kind."""
    found = set()
    for number, line in enumerate(text.split("\n"), start=1):
        for mark in MARK.finditer(line):
            is_alone = not line[: mark.start()].strip()
            place = int(mark[2] or number + is_alone)
            if mark[1] == kind:
                found |= {(place, name) for name in mark[3].split(", ")}
    return found


def findings(text: str) -> set[tuple[int, str]]:
    return {(f.line, f.rule.id) for f in lint_text(text) if f.suppressed_by is None}


@each_script
def test_exactly_the_marked_findings_are_found(path):
    text = read(path)

    assert marks(text, "expect") == findings(text)


def test_wording_of_all_findings(golden):
    findings = {path.name: lint_text(read(path)) for path in SCRIPTS}

    golden("scripts", report.as_text(findings))


@each_script
def test_near_misses_are_not_found(path):
    text = read(path)

    assert set() == marks(text, "near") & findings(text)


def test_every_rule_has_a_finding_and_a_near_miss():
    texts = [read(path) for path in SCRIPTS]
    for kind in ("expect", "near"):
        marked = {name for text in texts for _, name in marks(text, kind)}

        assert IDS == marked, kind


def test_corpus_has_good_and_bad_scripts():
    clean = [path for path in SCRIPTS if not marks(read(path), "expect")]

    assert len(SCRIPTS) >= 25
    assert len(clean) >= 8


def test_wrong_mark_is_noticed():
    text = "#!/bin/bash\n#SBATCH -n 4\nsrun python a.py  # expect: srun-cpus\n"

    assert {(3, "srun-cpus")} == marks(text, "expect")
    assert {(3, "srun-kill")} == findings(text)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "jobs").rglob("*.slurm")), ids=lambda path: path.stem
)
def test_own_jobs_have_no_findings(path):
    assert [] == lint_text(read(path))


PROFILES = [path.stem for path in (ROOT / "src/jaxsif/job/profiles").glob("*.yaml")]
SITES = [path.stem for path in (ROOT / "src/jaxsif/job/sites").glob("*.yaml")]
RUNTIMES = ("apptainer", "pyxis", "podman-hpc", "bare")


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_generated_jobs_have_no_findings(profile, capsysbinary):
    assert SITES
    for site, runtime in itertools.product(SITES, RUNTIMES):
        words = ["job", "--site", site, "--runtime", runtime, profile, "train.py"]
        assert 0 == cli.main(words)

        assert [] == lint_text(capsysbinary.readouterr().out.decode()), words


def test_job_that_stages_its_image_has_no_findings(capsysbinary):
    assert 0 == cli.main(["job", "--stage", "--requeue", "G8N2p8", "train.py"])

    assert [] == lint_text(capsysbinary.readouterr().out.decode())
