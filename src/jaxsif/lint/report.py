"""Formats findings as text, JSON, SARIF and Markdown."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from jaxsif.core.text import plural
from jaxsif.lint.rule import SEVERITIES, LintFinding, Rule
from jaxsif.lint.rules import RULES

SCHEMA = "jax-sif/lint/1"

# The findings of each script, by its name.
FindingsByScript = Mapping[str, Sequence[LintFinding]]


def text(found: FindingsByScript) -> str:
    """Two lines per finding, the second with the fix, and a summary line."""
    lines = []
    for name, findings in found.items():
        for finding in _unsuppressed(findings):
            message = f"{finding.rule.title}: {finding.text}"
            place = f"{name}:{finding.line}: {finding.severity}"
            lines += [f"{place}: {message} [{finding.rule.id}]", f"  -> {finding.fix}"]
    return "".join(f"{line}\n" for line in [*lines, _summary(found)])


def _unsuppressed(findings: Iterable[LintFinding]) -> list[LintFinding]:
    return [finding for finding in findings if finding.suppressed_by is None]


def count(found: FindingsByScript) -> dict[str, int]:
    """The number of unsuppressed findings of each severity."""
    severities = [
        f.severity for findings in found.values() for f in _unsuppressed(findings)
    ]
    return {severity: severities.count(severity) for severity in SEVERITIES}


def _summary(found: FindingsByScript) -> str:
    """`1 error, 2 warnings in 1 script, 1 ignored`"""
    counts = [plural(n, severity) for severity, n in count(found).items() if n]
    suppressed_by = sum(
        f.suppressed_by is not None for findings in found.values() for f in findings
    )
    scripts = plural(len(found), "script")
    behind = f", {suppressed_by} ignored" if suppressed_by else ""
    return f"{', '.join(counts) or 'nothing found'} in {scripts}{behind}"


def as_json(found: FindingsByScript) -> dict[str, Any]:
    """The findings as JSON; schema jax-sif/lint/1."""
    return {
        "schema": SCHEMA,
        "counts": count(found),
        "scripts": [
            {"script": name, "findings": [_facts(finding) for finding in findings]}
            for name, findings in found.items()
        ],
    }


def _facts(finding: LintFinding) -> dict[str, Any]:
    return {
        "rule": finding.rule.id,
        "severity": finding.severity,
        "line": finding.line,
        "title": finding.rule.title,
        "found": finding.text,
        "fix": finding.fix,
        "why": finding.rule.why,
        "source": finding.rule.source,
        "ignored": finding.suppressed_by,
    }


def rules_text(topics: Mapping[str, Sequence[Rule]]) -> str:
    """All rules by topic."""
    width = max(len(rule.id) for rules in topics.values() for rule in rules)
    lines = []
    for topic, rules in topics.items():
        lines.append(topic)
        lines += [f"  {r.id:<{width}}  {r.severity:<7}  {r.title}" for r in rules]
    return "".join(f"{line}\n" for line in lines)


def rules_markdown(topics: Mapping[str, Sequence[Rule]]) -> str:
    """All rules with fix, reason and source, for docs/lint.md."""
    parts = []
    for topic, rules in topics.items():
        parts.append(f"### {topic}\n\n| | | Fix | Why |\n|---|---|---|---|\n")
        for rule in rules:
            cells = (
                f"`{rule.id}`",
                f"{rule.severity}: {rule.title}",
                rule.fix,
                f"{rule.why} ({rule.source})",
            )
            row = " | ".join(cell.replace("|", "\\|") for cell in cells)
            parts.append(f"| {row} |\n")
        parts.append("\n")
    return "".join(parts)


_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_INDEX = {rule.id: index for index, rule in enumerate(RULES)}


def as_sarif(found: FindingsByScript) -> dict[str, Any]:
    """One run of the lint over all scripts; ignored findings are in it as suppressed.

    Source: OASIS, Static Analysis Results Interchange Format 2.1.0.
    """
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "jax-sif lint", "rules": _rules()}},
                "columnKind": "unicodeCodePoints",
                "results": [
                    _result(name, finding)
                    for name, findings in found.items()
                    for finding in findings
                ],
            }
        ],
    }


def _rules() -> list[dict[str, Any]]:
    return [_rule(rule) for rule in RULES]


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.why} ({rule.source})"},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(name: str, finding: LintFinding) -> dict[str, Any]:
    message = f"{finding.rule.title}: {finding.text}\n-> {finding.fix}"
    result: dict[str, Any] = {
        "ruleId": finding.rule.id,
        "ruleIndex": _INDEX[finding.rule.id],
        "level": finding.severity,
        "message": {"text": message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(name, errors="replace")},
                    "region": {"startLine": finding.line},
                }
            }
        ],
    }
    if finding.suppressed_by is not None:
        suppression = {"kind": "inSource", "justification": finding.suppressed_by}
        result["suppressions"] = [suppression]
    return result
