"""Runs `jax-sif lint`: reads scripts, prints the findings, returns the exit status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import BinaryIO

from jaxsif.core import strict_json
from jaxsif.core.errors import FAIL, PASS, UsageError
from jaxsif.lint import report
from jaxsif.lint.rule import ERROR, SEVERITIES, WARNING, LintFinding, Rule, Violation
from jaxsif.lint.rules import RULES, TOPICS
from jaxsif.lint.script import parse_script
from jaxsif.lint.suppressions import apply_suppressions


def lint_text(text: str) -> list[LintFinding]:
    """The findings in the order of lines, including those that a comment suppresses."""
    script = parse_script(text)
    found = dict.fromkeys(
        (rule.id, violation)
        for rule in RULES
        if rule.check is not None
        for violation in rule.check(script)
    )
    rules = {rule.id: rule for rule in RULES}
    findings = apply_suppressions(
        (_finding(rules[name], violation) for name, violation in found),
        script.lines,
        rules,
    )
    return sorted(findings, key=_place)


def _finding(rule: Rule, violation: Violation) -> LintFinding:
    return LintFinding(
        rule,
        violation.line,
        violation.severity or rule.severity,
        violation.text,
        violation.fix or rule.fix,
    )


def _place(finding: LintFinding) -> tuple[int, int, str]:
    return finding.line, SEVERITIES.index(finding.severity), finding.rule.id


TEXT, JSON, SARIF = "text", "json", "sarif"
STANDARD_INPUT = "stdin"

# The same as Slurm's SchedulerParameters=max_script_size.
_MAX_BYTES = 4 << 20
# A job script has a shebang, a directive, or a step.
_JOB_SCRIPT = re.compile(
    r"^(?:\ufeff?#!|#SBATCH|(?:srun|singularity|apptainer)\s)", re.MULTILINE
)


def lint(scripts: Sequence[str], *, output_format: str, is_strict: bool) -> int:
    """Check the scripts, print the findings, and return the exit status.

    Args:
      scripts: paths, or `-` for standard input.
      form: TEXT, JSON or SARIF.
      is_strict: treat warnings as errors.

    Raises:
      UsageError: a script cannot be read, or is not a script.
    """
    texts = {_name(script): _read(script) for script in dict.fromkeys(scripts)}
    found = {name: lint_text(text) for name, text in texts.items()}
    if output_format == TEXT:
        shown = report.text(found)
    else:
        facts = (
            report.as_json(found) if output_format == JSON else report.as_sarif(found)
        )
        shown = strict_json.encode(facts)
    # File names may contain any bytes.
    sys.stdout.buffer.write(shown.encode(errors="backslashreplace"))
    sys.stdout.flush()
    counts = report.count(found)
    is_bad = counts[ERROR] or (is_strict and counts[WARNING])
    return FAIL if is_bad else PASS


def show_rules() -> int:
    """Lists every rule."""
    sys.stdout.write(report.rules_text(TOPICS))
    sys.stdout.flush()
    return PASS


def _name(script: str) -> str:
    return STANDARD_INPUT if script == "-" else script


def _read(script: str) -> str:
    """The text of a script; bytes that are not UTF-8 are replaced."""
    try:
        with _open(script) as source:
            raw = source.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(_missing(script)) from error
    except OSError as error:
        raise UsageError(
            f"cannot read the script {script!r}: {error.strerror}; give the path of a"
            " job script, or - for standard input"
        ) from error
    if len(raw) > _MAX_BYTES:
        raise UsageError(
            f"the script {script!r} has more than {_MAX_BYTES >> 20} MiB, which Slurm"
            " rejects as well; is it the right file?"
        )
    text = raw.decode(errors="replace")
    _check_is_script(script, raw, text)
    return text


def _open(script: str) -> BinaryIO:
    return os.fdopen(os.dup(0), "rb") if script == "-" else open(script, "rb")


def _missing(script: str) -> str:
    """The message for a missing file; in a container it may not be mounted."""
    if not _is_in_container():
        return (
            f"no such file {script!r}; give the path of a job script, or - for"
            " standard input"
        )
    return (
        f"no such file {script!r} in the container; if it exists outside, its folder is"
        " not mounted; use standard input instead:"
        f" jax-sif lint - < {script}"
    )


def _is_in_container() -> bool:
    return any(
        name in os.environ for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
    )


def _check_is_script(script: str, raw: bytes, text: str) -> None:
    if not raw.strip():
        raise UsageError(f"the script {script!r} is empty; give a job script")
    if b"\0" in raw:
        raise UsageError(
            f"{script!r} is a binary file, not a script; give the path of a job script"
        )
    if not _JOB_SCRIPT.search(text):
        raise UsageError(
            f"{script!r} is not a job script: it has neither a shebang nor a line #SBATCH"
            " nor a step; give the file that you pass to sbatch"
        )
