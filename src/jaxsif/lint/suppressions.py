"""Suppresses findings: `# jax-sif: ignore[rule-id] reason` on or above the line."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from jaxsif.lint.rule import ERROR, NOTE, LintFinding, Rule

UNKNOWN_RULE = Rule(
    "ignore-unknown",
    ERROR,
    "A comment ignores a rule that does not exist",
    "# jax-sif: ignore[rule-id] reason; the ids: jax-sif lint --list-rules",
    "a mistyped id suppresses nothing",
    "docs/lint.md",
)
MISSING_REASON = Rule(
    "ignore-reason",
    ERROR,
    "A suppression comment has no reason",
    "# jax-sif: ignore[rule-id] reason",
    "the next reader must know whether the reason still applies",
    "docs/lint.md",
)
UNUSED_COMMENT = Rule(
    "ignore-unused",
    NOTE,
    "A comment ignores a rule that finds nothing",
    "remove it",
    "it would suppress the next real finding",
    "docs/lint.md",
)

RULES = (UNKNOWN_RULE, MISSING_REASON, UNUSED_COMMENT)


_COMMENT = re.compile(
    r"#\s*jax-sif:\s*ignore\b(?:\[(?P<ids>[^\]]{0,999})\])?(?P<reason>.*)"
)


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


def read_comments(lines: Sequence[str]) -> list[SuppressionComment]:
    """All suppression comments of a script."""
    comments = []
    for number, line in enumerate(lines, start=1):
        found = _COMMENT.search(line)
        if found:
            ids = [word.strip() for word in (found["ids"] or "").split(",")]
            is_alone = not line[: found.start()].strip()
            reason = found["reason"].strip()
            comments.append(SuppressionComment(number, tuple(ids), reason, is_alone))
    return comments


def apply_suppressions(
    findings: Iterable[LintFinding], lines: Sequence[str], ids: Collection[str]
) -> list[LintFinding]:
    """Mark the suppressed findings, and add the errors of the comments."""
    comments = read_comments(lines)
    marked = [_mark(finding, comments) for finding in findings]
    return marked + [
        finding
        for comment in comments
        for finding in _suppression_errors(comment, marked, ids)
    ]


def _mark(finding: LintFinding, comments: Sequence[SuppressionComment]) -> LintFinding:
    reasons = [c.reason for c in comments if c.reason and c.covers(finding)]
    return replace(finding, suppressed_by=reasons[0]) if reasons else finding


def _suppression_errors(
    comment: SuppressionComment, findings: Sequence[LintFinding], ids: Collection[str]
) -> Iterator[LintFinding]:
    for name in comment.ids:
        if name not in ids:
            near = get_close_matches(name, ids, n=1)
            hint = f"did you mean {near[0]}?" if near else UNKNOWN_RULE.fix
            yield _finding(UNKNOWN_RULE, comment, f"there is no rule {name!r}", hint)
        elif not comment.reason:
            yield _finding(
                MISSING_REASON,
                comment,
                f"no reason for ignoring {name}",
                MISSING_REASON.fix,
            )
        elif not any(comment.covers(f) for f in findings if f.rule.id == name):
            yield _finding(
                UNUSED_COMMENT, comment, f"no finding {name} here", UNUSED_COMMENT.fix
            )


def _finding(
    rule: Rule, comment: SuppressionComment, text: str, fix: str
) -> LintFinding:
    return LintFinding(rule, comment.line, rule.severity, text, fix)
