"""Runs `jax-sif lint`: reads scripts, prints the findings, returns the exit status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import BinaryIO

from jaxsif.core import strict_json
from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS, UsageError
from jaxsif.lint import report
from jaxsif.lint.frameworks import batch_system_of
from jaxsif.lint.rule import ERROR, SEVERITIES, WARNING, LintFinding, Rule
from jaxsif.lint.rules import RULES, TOPICS
from jaxsif.lint.rules.script import batch_system
from jaxsif.lint.script import Script, parse_script
from jaxsif.lint.suppressions import apply_suppressions

TEXT, JSON, SARIF = "text", "json", "sarif"

_RULES = {rule.id: rule for rule in RULES}
# The same as Slurm's SchedulerParameters=max_script_size.
_MAX_BYTES = 4 << 20
# A job script has a shebang, a directive, or a step.
_JOB_SCRIPT_RE = re.compile(
    r"^(?:\ufeff?#!|#SBATCH|(?:srun|singularity|apptainer)\s)", re.MULTILINE
)


def lint_text(text: str) -> list[LintFinding]:
    """Return the findings in the order of lines, even those that are suppressed."""
    script = parse_script(text)
    findings = [
        rule.finding(violation, script)
        for rule in _rules_for(script)
        if rule.check is not None
        for violation in dict.fromkeys(rule.check(script))
    ]
    findings = apply_suppressions(findings, script.lines, _RULES)
    return sorted(
        findings, key=lambda f: (f.line, SEVERITIES.index(f.severity), f.rule.id)
    )


def _rules_for(script: Script) -> Sequence[Rule]:
    """Return the rules for a script: one for those of other batch systems."""
    return (batch_system,) if batch_system_of(script.lines) else RULES


def lint(scripts: Sequence[str], *, output_format: str, is_strict: bool) -> int:
    """Check the scripts, print the findings, and return the exit status.

    Args:
      scripts: paths, or `-` for standard input.
      output_format: TEXT, JSON or SARIF.
      is_strict: whether warnings count as errors.

    Raises:
      UsageError: a script cannot be read, or is not a script.
    """
    texts = {_name(script): _read(script) for script in dict.fromkeys(scripts)}
    findings = {name: lint_text(text) for name, text in texts.items()}
    if output_format == TEXT:
        output = report.as_text(findings)
    elif output_format == JSON:
        output = strict_json.encode(report.as_json(findings))
    else:
        output = strict_json.encode(report.as_sarif(findings))
    # File names may contain any bytes.
    sys.stdout.buffer.write(output.encode(errors="backslashreplace"))
    sys.stdout.flush()
    counts = report.count(findings)
    if counts[ERROR] or (is_strict and counts[WARNING]):
        return FAIL
    return COULD_NOT_TELL if any(map(_is_unchecked, findings.values())) else PASS


def _is_unchecked(findings: Sequence[LintFinding]) -> bool:
    return any(finding.rule is batch_system for finding in findings)


def explain_rule(rule_id: str) -> int:
    """Print a rule's meaning, reason, fix and source, and return the exit status.

    Raises:
      UsageError: there is no such rule.
    """
    if rule_id not in _RULES:
        similar = get_close_matches(rule_id, _RULES, n=1)
        hint = f"did you mean {similar[0]}?" if similar else "see jax-sif lint --list"
        raise UsageError(f"there is no rule {rule_id!r}; {hint}")
    sys.stdout.write(report.rule_as_text(_RULES[rule_id]))
    sys.stdout.flush()
    return PASS


def list_rules() -> int:
    """Print every rule, and return the exit status."""
    sys.stdout.write(report.rules_as_text(TOPICS))
    sys.stdout.flush()
    return PASS


def _name(script: str) -> str:
    return "stdin" if script == "-" else script


def _read(script: str) -> str:
    """Return the text of a script; bytes that are not UTF-8 are replaced."""
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
    """Return the message for a missing file, which a container may not have mounted."""
    if {"APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"}.isdisjoint(os.environ):
        return (
            f"no such file {script!r}; give the path of a job script, or - for"
            " standard input"
        )
    return (
        f"no such file {script!r} in the container; if it exists outside, its directory"
        f" is not mounted; use standard input instead: jax-sif lint - < {script}"
    )


def _check_is_script(script: str, raw: bytes, text: str) -> None:
    if not raw.strip():
        raise UsageError(f"the script {script!r} is empty; give a job script")
    if b"\0" in raw:
        raise UsageError(
            f"{script!r} is a binary file, not a script; give the path of a job script"
        )
    if not _JOB_SCRIPT_RE.search(text) and not batch_system_of(text.split("\n")):
        raise UsageError(
            f"{script!r} is not a job script: it has no shebang, no line #SBATCH and"
            " no step; give the file that you pass to sbatch"
        )
