"""`jax-sif lint`: output, exit status, and files that are not scripts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from jaxsif import cli
from jaxsif.core.image import kit_version
from jaxsif.lint.rules import RULES

HEAD = "#!/bin/bash\n#SBATCH --nodes=2 --ntasks-per-node=4\n"
# An error in line 3, a warning in line 4.
BAD = f"{HEAD}#SBATCH --nodse=1\nsrun python train.py\n"
WARNED = f"{HEAD}srun python train.py\n"
CLEAN = f"{HEAD}srun --kill-on-bad-exit=1 python train.py\n"


@pytest.fixture
def lint(tmp_path, capsys, monkeypatch):
    """Lint scripts of the given contents; return status, standard output and error."""
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


def test_each_finding_has_line_severity_rule_and_fix(lint, golden):
    status, output, _ = lint(BAD)

    assert 1 == status
    golden("one-error-one-warning", output)


def test_findings_name_their_script(lint):
    status, output, _ = lint(CLEAN, WARNED)

    assert 0 == status
    assert output.startswith("job1.slurm:3: warning: ")
    assert output.endswith("\n1 warning in 2 scripts\n")


def test_clean_script_has_one_line(lint):
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
def test_errors_fail_and_with_strict_also_warnings(lint, script, options, status):
    assert status == lint(script, options=options)[0]


SUPPRESSED = f"{HEAD}# jax-sif: ignore[srun-kill] they do not talk\nsrun python a.py\n"


def test_suppressed_findings_are_counted_and_not_printed(lint):
    status, output, _ = lint(SUPPRESSED, options=("--strict",))

    assert (0, "nothing found in 1 script, 1 suppressed\n") == (status, output)


def test_json_has_all_findings_and_the_reasons_of_suppressions(lint, golden):
    status, output, _ = lint(BAD, SUPPRESSED, options=("--format", "json"))

    document = json.loads(output)
    assert 1 == status
    assert "jax-sif/lint/1" == document["schema"]
    assert {"error": 1, "warning": 1, "note": 0} == document["counts"]
    bad, suppressed = document["scripts"]
    assert [("directive-unknown", 3), ("srun-kill", 4)] == [
        (f["rule"], f["line"]) for f in bad["findings"]
    ]
    reasons = [f["suppressed_by"] for f in suppressed["findings"]]
    assert ["they do not talk"] == reasons
    golden("json", json.dumps(document, indent=2))


def test_sarif_has_the_structure_of_the_standard(lint):
    status, shown, _ = lint(BAD, SUPPRESSED, options=("--format", "sarif"))

    log = json.loads(shown)
    assert 1 == status
    assert "2.1.0" == log["version"]
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert "jax-sif lint" == driver["name"]
    assert kit_version() == driver["version"]
    assert {"image", "jax"} == driver["properties"].keys()
    assert [rule.id for rule in RULES] == [rule["id"] for rule in driver["rules"]]
    assert len(set(rule["id"] for rule in driver["rules"])) == len(driver["rules"])
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert f"docs/lint.md#{rule['id']}" == rule["helpUri"]
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


def test_name_with_blanks_becomes_a_valid_uri(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my job #1.slurm").write_text(BAD)

    assert 1 == cli.main(["lint", "--format=sarif", "my job #1.slurm"])
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert "my%20job%20%231.slurm" == place["artifactLocation"]["uri"]


@pytest.mark.parametrize("option", ["--list", "--list-rules"])
def test_rules_are_listed(capsys, option):
    assert 0 == cli.main(["lint", option])

    shown = capsys.readouterr().out
    assert [] == [rule.id for rule in RULES if f"\n  {rule.id} " not in shown]


def test_rule_is_explained_with_its_facts(capsys, golden):
    assert 0 == cli.main(["lint", "--explain", "gpus-idle"])

    golden("explain-gpus-idle", capsys.readouterr().out)


def test_explained_rule_must_exist(capsys):
    assert 2 == cli.main(["lint", "--explain", "gpu-idle"])
    assert "did you mean gpus-idle?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\x7fELF\x02\x01\0\0#!", "is a binary file"),
        (b"# Notes\n\n    srun python a.py\n", "is not a job script"),
        (b"#!/bin/sh\n" + b"#" * (4 << 20), "has more than 4 MiB"),
    ],
)
def test_other_files_are_usage_errors(lint, content, reason):
    status, output, error = lint(content)

    assert (2, "") == (status, output)
    assert error.startswith("jax-sif: ") and f"'job0.slurm' {reason}" in error


def test_invalid_utf8_is_replaced(lint):
    status, output, _ = lint(CLEAN.encode() + b"echo '\xff\xfe'\n")

    assert (1, True) == (status, "[status-lost]" in output)


def test_folder_is_a_usage_error(lint, tmp_path):
    status, _, error = lint(options=(str(tmp_path),))

    assert 2 == status
    assert error.startswith("jax-sif: cannot read the script ")


@pytest.mark.parametrize("container", ["", "/images/jax-sif.sif"])
def test_missing_script_is_a_usage_error(capsys, monkeypatch, golden, container):
    monkeypatch.delenv("SINGULARITY_CONTAINER", raising=False)
    monkeypatch.setenv("APPTAINER_CONTAINER", container)
    if not container:
        monkeypatch.delenv("APPTAINER_CONTAINER")

    assert 2 == cli.main(["lint", "/nowhere/job.slurm"])
    name = "missing-in-a-container" if container else "missing"
    golden(name, capsys.readouterr().err)


def test_no_script_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["lint"])

    assert 2 == ended.value.code
    assert "- for standard input" in capsys.readouterr().err


def test_script_is_read_from_standard_input():
    done = subprocess.run(
        [sys.executable, "-m", "jaxsif", "lint", "-"],
        cwd=ROOT / "src",
        input=BAD,
        capture_output=True,
        text=True,
    )

    assert 1 == done.returncode
    assert done.stdout.startswith("stdin:3: error: ")


def test_help_does_not_load_the_grammar():
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
