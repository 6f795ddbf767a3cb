"""Formats findings as SARIF 2.1.0, which code hosts show beside the lines."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from jaxsif.lint.report import CheckOutput
from jaxsif.lint.rule import Finding, Rule
from jaxsif.lint.rules import RULES

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_INDEX = {rule.id: index for index, rule in enumerate(RULES)}


def as_sarif(found: CheckOutput) -> dict[str, Any]:
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


def _result(name: str, finding: Finding) -> dict[str, Any]:
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
    if finding.ignored is not None:
        suppression = {"kind": "inSource", "justification": finding.ignored}
        result["suppressions"] = [suppression]
    return result
