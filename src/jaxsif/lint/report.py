"""Formats findings as text, JSON, SARIF and Markdown."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any
from urllib.parse import quote

from jaxsif.core.image import versions
from jaxsif.core.text import plural
from jaxsif.lint.rule import SEVERITIES, LintFinding, Rule
from jaxsif.lint.rules import RULES

SCHEMA = "jax-sif/lint/1"
_JAX_ONLY = ", a warning at most unless the script names JAX"

# The findings of each script, by its name.
FindingsByScript = Mapping[str, Sequence[LintFinding]]


def as_text(scripts: FindingsByScript) -> str:
    """Return two lines per finding, the second with the fix, and a summary line."""
    lines = []
    for name, findings in scripts.items():
        for f in _unsuppressed(findings):
            location = f"{name}:{f.line}: {f.severity}"
            lines.append(f"{location}: {f.rule.title}: {f.text} [{f.rule.id}]")
            lines.append(f"  -> {f.fix}")
    return "".join(f"{line}\n" for line in [*lines, _summary(scripts)])


def _unsuppressed(findings: Iterable[LintFinding]) -> list[LintFinding]:
    return [finding for finding in findings if finding.suppressed_by is None]


def count(scripts: FindingsByScript) -> dict[str, int]:
    """Return the number of unsuppressed findings of each severity."""
    severities = [f.severity for s in scripts.values() for f in _unsuppressed(s)]
    return {severity: severities.count(severity) for severity in SEVERITIES}


def _summary(scripts: FindingsByScript) -> str:
    """Return `1 error, 2 warnings in 1 script, 1 suppressed`."""
    counts = [plural(n, severity) for severity, n in count(scripts).items() if n]
    found = (
        f"{', '.join(counts) or 'nothing found'} in {plural(len(scripts), 'script')}"
    )
    total = sum(map(len, scripts.values()))
    suppressed = total - sum(count(scripts).values())
    return f"{found}, {suppressed} suppressed" if suppressed else found


def as_json(scripts: FindingsByScript) -> dict[str, Any]:
    """Return the findings for programs; schema jax-sif/lint/1."""
    return {
        "schema": SCHEMA,
        "counts": count(scripts),
        "scripts": [
            {"script": name, "findings": [_finding_as_json(f) for f in findings]}
            for name, findings in scripts.items()
        ],
    }


def _finding_as_json(finding: LintFinding) -> dict[str, Any]:
    return {
        "rule": finding.rule.id,
        "severity": finding.severity,
        "line": finding.line,
        "title": finding.rule.title,
        "message": finding.text,
        "fix": finding.fix,
        "why": finding.rule.why,
        "source": finding.rule.source,
        "suppressed_by": finding.suppressed_by,
    }


def rules_as_text(topics: Mapping[str, Sequence[Rule]]) -> str:
    """Return the list of rules by topic."""
    width = max(len(rule.id) for rules in topics.values() for rule in rules)
    lines = []
    for topic, rules in topics.items():
        lines.append(topic)
        lines += [f"  {r.id:<{width}}  {r.severity:<7}  {r.title}" for r in rules]
    return "".join(f"{line}\n" for line in lines)


def rule_as_text(rule: Rule) -> str:
    """Return what `jax-sif lint --explain ID` prints."""
    rows = (
        ("mistake", rule.title),
        ("reason", rule.why),
        ("fix", rule.fix),
        ("source", rule.source),
        ("page", _page_of(rule)),
    )
    lines = [f"{rule.id}: {rule.severity}{_JAX_ONLY * rule.needs_jax}"]
    return "".join(
        f"{line}\n" for line in [*lines, *(f"  {k:<8} {v}" for k, v in rows)]
    )


def _wrapped(text: str, indent: str = "  ") -> str:
    return fill(
        text,
        100,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _page_of(rule: Rule) -> str:
    """Return where the documentation describes a rule."""
    return f"docs/lint.md#{rule.id}"


def rules_as_markdown(topics: Mapping[str, Sequence[Rule]]) -> str:
    """Return the rules with fix, reason and source, for docs/lint.md."""
    parts = []
    for topic, rules in topics.items():
        parts.append(f"### {topic}\n\n")
        for rule in rules:
            severity = f"{rule.severity}{_JAX_ONLY * rule.needs_jax}"
            facts = (
                f"- Reason: {rule.why}.",
                f"- Fix: {rule.fix}",
                f"- Source: {rule.source}.",
            )
            lines = "".join(f"{_wrapped(fact)}\n" for fact in facts)
            title = _wrapped(f"{rule.title} ({severity}).", indent="")
            parts.append(f"#### {rule.id}\n\n{title}\n\n{lines}\n")
    return "".join(parts).replace("<<", "\\<\\<")


def as_sarif(scripts: FindingsByScript) -> dict[str, Any]:
    """Return the findings as one run of SARIF 2.1.0, for code hosts.

    Source: OASIS, Static Analysis Results Interchange Format 2.1.0.
    """
    results = [_sarif_result(name, f) for name, fs in scripts.items() for f in fs]
    made_by = versions()
    driver = {
        "name": "jax-sif lint",
        "version": made_by.kit,
        "properties": {"image": made_by.image, "jax": made_by.jax},
        "rules": [_sarif_rule(rule) for rule in RULES],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.why} ({rule.source})"},
        "help": {"text": rule.fix},
        "helpUri": _page_of(rule),
        "defaultConfiguration": {"level": rule.severity},
    }


def _sarif_result(name: str, finding: LintFinding) -> dict[str, Any]:
    location = {
        "artifactLocation": {"uri": quote(name, errors="replace")},
        "region": {"startLine": finding.line},
    }
    message = f"{finding.rule.title}: {finding.text}\n-> {finding.fix}"
    result: dict[str, Any] = {
        "ruleId": finding.rule.id,
        "ruleIndex": RULES.index(finding.rule),
        "level": finding.severity,
        "message": {"text": message},
        "locations": [{"physicalLocation": location}],
    }
    if finding.suppressed_by is not None:
        suppression = {"kind": "inSource", "justification": finding.suppressed_by}
        result["suppressions"] = [suppression]
    return result
