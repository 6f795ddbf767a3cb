"""Suppresses findings: `# jax-sif: ignore[rule-id] reason` on or above the line."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from jaxsif.lint.rule import ERROR, NOTE, LintFinding, Rule, Violation

_COMMENT_RE = re.compile(
    r"#\s*jax-sif:\s*ignore\b(?:\[(?P<ids>[^\]]{0,999})\])?(?P<reason>.*)"
)

# These rules check suppression comments against findings, so they have no check.
_UNKNOWN = Rule(
    "ignore-unknown",
    ERROR,
    "A comment suppresses a rule that does not exist",
    "# jax-sif: ignore[rule-id] reason; the ids: jax-sif lint --list",
    "a mistyped id suppresses nothing",
    "docs/lint.md",
)
_NO_REASON = Rule(
    "ignore-reason",
    ERROR,
    "A suppression comment has no reason",
    "# jax-sif: ignore[rule-id] reason",
    "the next reader must know whether the reason still applies",
    "docs/lint.md",
)
_UNUSED = Rule(
    "ignore-unused",
    NOTE,
    "A comment suppresses a rule that finds nothing",
    "remove it",
    "it would suppress the next real finding",
    "docs/lint.md",
)
RULES = (_UNKNOWN, _NO_REASON, _UNUSED)


@dataclass(frozen=True)
class SuppressionComment:
    """A comment; it applies to its line and, without code before it, to the next."""

    line: int
    ids: tuple[str, ...]
    reason: str
    is_alone: bool

    def covers(self, finding: LintFinding) -> bool:
        lines = (self.line, self.line + 1) if self.is_alone else (self.line,)
        return finding.line in lines and finding.rule.id in self.ids


def apply_suppressions(
    findings: Sequence[LintFinding], lines: Sequence[str], ids: Collection[str]
) -> list[LintFinding]:
    """Mark the suppressed findings, and add the errors of the comments.

    Args:
      findings: the findings of a script.
      lines: its lines.
      ids: the ids of all rules.
    """
    comments = _read_comments(lines)
    return [_mark(finding, comments) for finding in findings] + [
        rule.finding(violation)
        for comment in comments
        for rule, violation in _comment_violations(comment, findings, ids)
    ]


def _read_comments(lines: Sequence[str]) -> list[SuppressionComment]:
    comments = []
    for number, line in enumerate(lines, start=1):
        if match := _COMMENT_RE.search(line):
            ids = tuple(name.strip() for name in (match["ids"] or "").split(","))
            is_alone = not line[: match.start()].strip()
            reason = match["reason"].strip()
            comments.append(SuppressionComment(number, ids, reason, is_alone))
    return comments


def _mark(finding: LintFinding, comments: Sequence[SuppressionComment]) -> LintFinding:
    reasons = [c.reason for c in comments if c.reason and c.covers(finding)]
    return replace(finding, suppressed_by=reasons[0]) if reasons else finding


def _comment_violations(
    comment: SuppressionComment, findings: Sequence[LintFinding], ids: Collection[str]
) -> Iterator[tuple[Rule, Violation]]:
    line = comment.line
    for name in comment.ids:
        if name not in ids:
            similar = get_close_matches(name, ids, n=1)
            fix = f"did you mean {similar[0]}?" if similar else ""
            yield _UNKNOWN, Violation(line, f"there is no rule {name!r}", fix)
        elif not comment.reason:
            yield _NO_REASON, Violation(line, f"no reason for suppressing {name}")
        elif not any(comment.covers(f) for f in findings if f.rule.id == name):
            yield _UNUSED, Violation(line, f"no finding {name} here")
