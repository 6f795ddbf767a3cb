"""Suppresses findings: `# jax-sif: ignore[rule-id] reason` on or above the line."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from jaxsif.lint.rule import Finding, Rule
from jaxsif.lint.rules import RULES
from jaxsif.lint.rules.ignoring import REASON, UNKNOWN, UNUSED

_COMMENT = re.compile(
    r"#\s*jax-sif:\s*ignore\b(?:\[(?P<ids>[^\]]{0,999})\])?(?P<reason>.*)"
)
_IDS = {rule.id for rule in RULES}


@dataclass(frozen=True)
class Comment:
    """A comment; it applies to its line and, without code before it, to the next."""

    line: int
    ids: tuple[str, ...]
    reason: str
    is_alone: bool

    def covers(self, finding: Finding) -> bool:
        lines = (self.line, self.line + 1) if self.is_alone else (self.line,)
        return finding.line in lines and finding.rule.id in self.ids


def read_comments(lines: Sequence[str]) -> list[Comment]:
    """All suppression comments of a script."""
    comments = []
    for number, line in enumerate(lines, start=1):
        found = _COMMENT.search(line)
        if found:
            ids = [word.strip() for word in (found["ids"] or "").split(",")]
            is_alone = not line[: found.start()].strip()
            reason = found["reason"].strip()
            comments.append(Comment(number, tuple(ids), reason, is_alone))
    return comments


def apply_suppressions(
    findings: Iterable[Finding], lines: Sequence[str]
) -> list[Finding]:
    """Mark the suppressed findings, and add the errors of the comments."""
    comments = read_comments(lines)
    marked = [_mark(finding, comments) for finding in findings]
    return marked + [
        finding
        for comment in comments
        for finding in _suppression_errors(comment, marked)
    ]


def _mark(finding: Finding, comments: Sequence[Comment]) -> Finding:
    reasons = [c.reason for c in comments if c.reason and c.covers(finding)]
    return replace(finding, ignored=reasons[0]) if reasons else finding


def _suppression_errors(
    comment: Comment, findings: Sequence[Finding]
) -> Iterator[Finding]:
    for name in comment.ids:
        if name not in _IDS:
            near = get_close_matches(name, _IDS, n=1)
            hint = f"did you mean {near[0]}?" if near else UNKNOWN.fix
            yield _finding(UNKNOWN, comment, f"there is no rule {name!r}", hint)
        elif not comment.reason:
            yield _finding(
                REASON, comment, f"no reason for ignoring {name}", REASON.fix
            )
        elif not any(comment.covers(f) for f in findings if f.rule.id == name):
            yield _finding(UNUSED, comment, f"no finding {name} here", UNUSED.fix)


def _finding(rule: Rule, comment: Comment, text: str, fix: str) -> Finding:
    return Finding(rule, comment.line, rule.severity, text, fix)
