"""`jax-sif lint`: what people and programs get, the exit status, and every input that is no script."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from jaxsif import cli
from jaxsif.lint.rules import RULES

HEAD = "#!/bin/bash\n#SBATCH --nodes=2 --ntasks-per-node=4\n"
# An error in line 3, a warning in line 4.
BAD = f"{HEAD}#SBATCH --nodse=1\nsrun python train.py\n"
WARNED = f"{HEAD}srun python train.py\n"
CLEAN = f"{HEAD}srun --kill-on-bad-exit=1 python train.py\n"


@pytest.fixture
def lint(tmp_path, capsys, monkeypatch):
    """Lints scripts of the given contents; returns status, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*contents: str | bytes, options: tuple[str, ...] = ()):
        paths = []
        for number, content in enumerate(contents):
            path = tmp_path / f"job{number}.slurm"
            raw = content.encode() if isinstance(content, str) else content
            path.write_bytes(raw)
            paths.append(path.name)
        status = cli.main(["lint", *options, *paths])
        return status, *capsys.readouterr()

    return run


def test_a_finding_has_its_line_its_rule_and_the_fix_below(lint):
    status, shown, _ = lint(BAD)

    assert 1 == status
    assert [
        "job0.slurm:3: error: sbatch does not know the option, or misses its value:"
        " sbatch has no option --nodse [directive-unknown]",
        "  -> did you mean --nodes?",
        "job0.slurm:4: warning: srun does not end the other ranks when one fails: one of"
        " 8 ranks may fail, and the others go on [srun-kill]",
        "  -> srun --kill-on-bad-exit=1 ...",
        "1 error, 1 warning in 1 script",
    ] == shown.splitlines()


def test_of_several_scripts_each_finding_names_its_own(lint):
    status, shown, _ = lint(CLEAN, WARNED)

    assert 0 == status
    assert shown.startswith("job1.slurm:3: warning: ")
    assert shown.endswith("\n1 warning in 2 scripts\n")


def test_a_clean_script_has_one_line(lint):
    assert (0, "nothing found in 1 script\n", "") == lint(CLEAN)


@pytest.mark.parametrize(
    ("script", "options", "status"),
    [
        (CLEAN, ("--strict",), 0),
        (WARNED, (), 0),
        (WARNED, ("--strict",), 1),
        (BAD, (), 1),
        # A note, and no more.
        ("#!/usr/bin/env python3\n#SBATCH -n 1\n", ("--strict",), 0),
    ],
)
def test_errors_fail_and_with_strict_warnings_too(lint, script, options, status):
    assert status == lint(script, options=options)[0]


IGNORING = f"{HEAD}# jax-sif: ignore[srun-kill] they do not talk\nsrun python a.py\n"


def test_what_a_comment_ignores_is_counted_and_not_shown(lint):
    status, shown, _ = lint(IGNORING, options=("--strict",))

    assert (0, "nothing found in 1 script, 1 ignored\n") == (status, shown)


def test_json_has_every_finding_with_its_reason(lint):
    status, shown, _ = lint(BAD, IGNORING, options=("--format", "json"))

    facts = json.loads(shown)
    assert 1 == status
    assert "jax-sif/lint/1" == facts["schema"]
    assert {"error": 1, "warning": 1, "note": 0} == facts["counts"]
    bad, ignoring = facts["scripts"]
    assert "job0.slurm" == bad["script"]
    assert {
        "rule": "directive-unknown",
        "severity": "error",
        "line": 3,
        "title": "sbatch does not know the option, or misses its value",
        "found": "sbatch has no option --nodse",
        "fix": "did you mean --nodes?",
        "why": "sbatch refuses a script with an option that it does not know; an option"
        " that resembles none may be a site's own plug-in",
        "source": "tried with Slurm 26.05",
        "ignored": None,
    } == bad["findings"][0]
    assert ["they do not talk"] == [f["ignored"] for f in ignoring["findings"]]


def test_sarif_has_the_shape_that_the_standard_requires(lint):
    status, shown, _ = lint(BAD, IGNORING, options=("--format", "sarif"))

    log = json.loads(shown)
    assert 1 == status
    assert "2.1.0" == log["version"]
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert "jax-sif lint" == driver["name"]
    assert [rule.id for rule in RULES] == [rule["id"] for rule in driver["rules"]]
    assert len(set(rule["id"] for rule in driver["rules"])) == len(driver["rules"])
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        for text in ("shortDescription", "fullDescription", "help"):
            assert rule[text]["text"]
    assert 3 == len(run["results"])
    for result in run["results"]:
        assert result["ruleId"] == driver["rules"][result["ruleIndex"]]["id"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"].startswith("job")
        assert place["region"]["startLine"] >= 1
    assert [{"kind": "inSource", "justification": "they do not talk"}] == (
        run["results"][2]["suppressions"]
    )


def test_a_name_with_blanks_becomes_a_valid_uri(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my job #1.slurm").write_text(BAD)

    assert 1 == cli.main(["lint", "--format=sarif", "my job #1.slurm"])
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert "my%20job%20%231.slurm" == place["artifactLocation"]["uri"]


def test_the_rules_are_listed(capsys):
    assert 0 == cli.main(["lint", "--list-rules"])

    shown = capsys.readouterr().out
    assert [] == [rule.id for rule in RULES if f"\n  {rule.id} " not in shown]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the script 'job0.slurm' is empty"),
        (b"\n \n", "the script 'job0.slurm' is empty"),
        (b"\x7fELF\x02\x01\0\0#!", "'job0.slurm' is a binary file, not a script"),
        (b"# Notes\n\n    srun python a.py\n", "'job0.slurm' is not a job script"),
        (b"#!/bin/sh\n" + b"#" * (4 << 20), "the script 'job0.slurm' has more than 4"),
    ],
)
def test_what_is_no_script_is_wrong_usage(lint, content, complaint):
    status, shown, said = lint(content)

    assert (2, "") == (status, shown)
    assert said.startswith(f"jax-sif: {complaint}")


def test_bytes_that_are_no_text_harm_nobody(lint):
    status, shown, _ = lint(CLEAN.encode() + b"echo '\xff\xfe'\n")

    assert (1, True) == (status, "[status-lost]" in shown)


def test_a_folder_is_wrong_usage(lint, tmp_path):
    with_folder = (str(tmp_path),)

    status, _, said = lint(options=with_folder)

    assert 2 == status
    assert said.startswith("jax-sif: cannot read the script ")


def test_a_missing_script_is_wrong_usage_and_input_is_the_way_out(capsys, monkeypatch):
    monkeypatch.delenv("APPTAINER_CONTAINER", raising=False)
    monkeypatch.delenv("SINGULARITY_CONTAINER", raising=False)

    assert 2 == cli.main(["lint", "nowhere.slurm"])
    assert (
        "jax-sif: no such file 'nowhere.slurm'; give the path of a job script, or -"
        " for standard input\n"
    ) == capsys.readouterr().err


def test_in_a_container_a_missing_script_may_only_be_unmounted(capsys, monkeypatch):
    monkeypatch.setenv("APPTAINER_CONTAINER", "/images/jax-sif.sif")

    assert 2 == cli.main(["lint", "/scratch/job.slurm"])
    said = capsys.readouterr().err
    assert "its folder is not mounted" in said
    assert said.endswith("jax-sif lint - < /scratch/job.slurm\n")


def test_no_script_at_all_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["lint"])

    assert 2 == ended.value.code
    assert "- for standard input" in capsys.readouterr().err


def test_a_script_may_come_by_standard_input():
    done = subprocess.run(
        [sys.executable, "-m", "jaxsif", "lint", "-"],
        cwd=ROOT / "src",
        input=BAD,
        capture_output=True,
        text=True,
    )

    assert 1 == done.returncode
    assert done.stdout.startswith("stdin:3: error: ")


def test_help_and_wrong_usage_need_no_grammar():
    program = (
        "import sys; from jaxsif import cli\n"
        "try: cli.main(['lint', '--help'])\n"
        "except SystemExit: print('tree_sitter' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "False"
