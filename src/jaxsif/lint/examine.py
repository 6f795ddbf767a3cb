"""Applies all rules to the text of a script."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.lint.ignored import apply_suppressions
from jaxsif.lint.rule import SEVERITIES, Finding, Rule, Violation
from jaxsif.lint.rules import RULES
from jaxsif.lint.script import read_script


def examine(text: str) -> list[Finding]:
    """The findings in the order of lines, including those that a comment suppresses."""
    script = read_script(text)
    found = dict.fromkeys(
        (rule.id, hit) for rule in RULES for hit in rule.check(script)
    )
    rules = {rule.id: rule for rule in RULES}
    findings = apply_suppressions(
        (_finding(rules[name], hit) for name, hit in found), script.lines
    )
    return sorted(findings, key=_place)


def _finding(rule: Rule, hit: Violation) -> Finding:
    return Finding(
        rule, hit.line, hit.severity or rule.severity, hit.text, hit.fix or rule.fix
    )


def _place(finding: Finding) -> tuple[int, int, str]:
    return finding.line, SEVERITIES.index(finding.severity), finding.rule.id
