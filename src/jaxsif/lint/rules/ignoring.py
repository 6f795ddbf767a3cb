"""Traps of the comments that silence other findings; what they see is known only at the end. Runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.lint.rule import ERROR, NOTE, Rule, Violation
from jaxsif.lint.script import Script


def _nothing(script: Script) -> Iterator[Violation]:
    """These rules look at findings, not at the script: see ignored.py."""
    return iter(())


UNKNOWN = Rule(
    "ignore-unknown",
    ERROR,
    "A comment ignores a rule that does not exist",
    "# jax-sif: ignore[rule-id] reason; the ids: jax-sif lint --rules",
    "a mistyped id silences nothing, and looks as if it did",
    "docs/lint.md",
    _nothing,
)
REASON = Rule(
    "ignore-reason",
    ERROR,
    "A comment ignores a finding and does not say why",
    "# jax-sif: ignore[rule-id] reason",
    "whoever reads it next has to know whether the reason still holds",
    "docs/lint.md",
    _nothing,
)
UNUSED = Rule(
    "ignore-unused",
    NOTE,
    "A comment ignores what is not there",
    "remove it",
    "it would silence the next real finding in its place",
    "docs/lint.md",
    _nothing,
)

RULES = (UNKNOWN, REASON, UNUSED)
