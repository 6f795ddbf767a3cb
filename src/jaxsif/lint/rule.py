"""What a rule is, and what it finds; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jaxsif.lint.script import Script

# It will break or lie; it may; worth knowing.
ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Violation:
    """One place where a rule bites; an own fix or severity stands in for the rule's."""

    line: int
    text: str
    fix: str = ""
    severity: str = ""


Check = Callable[[Script], Iterator[Violation]]


@dataclass(frozen=True)
class Rule:
    """A known trap: its name, how bad it is, what it is, what to do, why, who says so."""

    id: str
    severity: str
    title: str
    fix: str
    why: str
    source: str
    check: Check


@dataclass(frozen=True)
class Finding:
    """A hit, complete. `ignored` is the reason that the script gives for leaving it."""

    rule: Rule
    line: int
    severity: str
    text: str
    fix: str
    ignored: str | None = None


def rule(
    name: str, severity: str, *, fix: str, why: str, source: str
) -> Callable[[Check], Rule]:
    """Makes a rule of a function that finds; its docstring is the rule's title."""

    def make(check: Check) -> Rule:
        title = (check.__doc__ or "").strip().removesuffix(".")
        return Rule(name, severity, title, fix, why, source, check)

    return make
