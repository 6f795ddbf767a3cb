"""Rules, violations and findings."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jaxsif.lint.script import Script

# It breaks the job or its result; it may; it is worth knowing.
ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Violation:
    """A violation of a rule; `fix` and `severity` override the rule's."""

    line: int
    text: str
    fix: str = ""
    severity: str = ""


Check = Callable[[Script], Iterator[Violation]]


@dataclass(frozen=True)
class Rule:
    """A known mistake, with severity, fix, reason and source."""

    id: str
    severity: str
    title: str
    fix: str
    why: str
    source: str
    check: Check | None = None


@dataclass(frozen=True)
class LintFinding:
    """A violation with its rule. `ignored`: the reason of a suppression comment."""

    rule: Rule
    line: int
    severity: str
    text: str
    fix: str
    suppressed_by: str | None = None


def rule(
    name: str, severity: str, *, fix: str, why: str, source: str
) -> Callable[[Check], Rule]:
    """Decorator that makes a rule of a check; its docstring is the rule's title."""

    def make(check: Check) -> Rule:
        title = (check.__doc__ or "").strip().removesuffix(".")
        return Rule(name, severity, title, fix, why, source, check)

    return make
